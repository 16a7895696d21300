/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_parts.h - what the tokenizer's files share: the image's layout, the passes over a text
 *
 * A text goes through stages: normalizing rewrites it, splitting cuts it into pieces, the model
 * turns each piece into ids. A stage is one buffer of text and the pieces that lie in it.
 */
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lib/base/json.h"
#include "lib/encoder/tokenizer.h"

enum {
	TOKENIZER_IMAGE_VERSION = 1,
	TOKENIZER_TEXT_MAX = 64 << 20, /* bytes of one input */
	TOKENIZER_STAGE_MAX = 1 << 30, /* bytes that normalizing may make of it */
	TOKENIZER_STEPS_MAX = 256, /* components of one Sequence */
	TOKENIZER_MAPS_MAX = 16, /* components that map single characters */
	TOKENIZER_AFFIX_MAX = 64, /* bytes of a subword prefix or suffix */
	TOKENIZER_BLOCKS = 0x110000 / 256, /* of 256 code points each */
	TOKENIZER_NONE = 0x7fffffff, /* no id */
	TOKENIZER_SHORT = 512, /* code points with an id of their own in the head */
	/* Planes: from USED to TAGS nothing is assigned; from PRIVATE on all is private use. */
	UNICODE_USED = 0x40000,
	UNICODE_TAGS = 0xe0000,
	UNICODE_PRIVATE = 0xf0000,
};

/* What a code point is, as the reference's tables have it (tokenizer_unicode.c). */
enum tokenizer_class {
	CLASS_SPACE = 1 << 0, /* White_Space */
	CLASS_PUNCTUATION = 1 << 1, /* P*, and all ASCII symbols */
	CLASS_NONSPACING = 1 << 2, /* Mn */
	CLASS_MARK = 1 << 3, /* M* */
	CLASS_CONTROL = 1 << 4, /* Cc, Cf, Co */
	CLASS_NUMERIC = 1 << 5, /* N*, to split digits by */
	CLASS_WORD = 1 << 6, /* \w */
	CLASS_LETTER = 1 << 7, /* \p{L} of patterns */
	CLASS_NUMBER = 1 << 8, /* \p{N} of patterns */
};

/* Parts of the image, in this order; all 8-byte aligned. type is that of an element. */
/* clang-format off */
#define TOKENIZER_SECTION_LIST(X)                                                                  \
	X(SECTION_CLASS_INDEX, class_index, uint16_t)  /* block of classes per 256 code points */  \
	X(SECTION_CLASS,       classes,     uint16_t)                                              \
	X(SECTION_MAP_INDEX,   map_index,   uint16_t)  /* per map: block of entries */             \
	X(SECTION_MAP,         map,         uint32_t)  /* what becomes of a code point: MAP_... */ \
	X(SECTION_TEXT,        text,        char)                                                  \
	X(SECTION_NORMAL,      normal,      struct tokenizer_step)                                 \
	X(SECTION_SPLIT,       split,       struct tokenizer_step)                                 \
	X(SECTION_FRAME,       frame,       struct tokenizer_frame)                                \
	X(SECTION_ADDED,       added,       struct tokenizer_added)                                \
	X(SECTION_RAW,         raw,         uint32_t)  /* trie of added tokens before normalizing */ \
	X(SECTION_LATE,        late,        uint32_t)  /* trie of added tokens after it */         \
	X(SECTION_VOCAB,       vocab,       uint32_t)  /* trie */                                  \
	X(SECTION_SCORE,       score,       double)                                                \
	X(SECTION_MERGE,       merge,       struct tokenizer_merge) /* hash table, a power of 2 */ \
	X(SECTION_CHARSMAP,    charsmap,    uint32_t)  /* SentencePiece's double array */
/* clang-format on */

enum tokenizer_section {
#define X(id, name, type) id,
	TOKENIZER_SECTION_LIST(X)
#undef X
		TOKENIZER_SECTIONS
};

/* An entry of a map: MAP_SAME, or bytes of SECTION_TEXT; MAP_MARK where what comes out may have to
 * be put in canonical order. */
#define MAP_SAME 0u
#define MAP_MARK (1u << 31)
#define MAP_TEXT (1u << 30)
#define MAP_LEN(e) ((e)&0xffu)
#define MAP_AT(e) ((e) >> 8 & 0x3fffffu)
enum { MAP_AT_MAX = 0x3fffff };

struct tokenizer_span {
	uint32_t at, len; /* in SECTION_TEXT */
};

enum tokenizer_step_kind {
	STEP_MAP, /* extra: which map; flags: STEP_ORDER, STEP_COMPOSE, STEP_LEAD */
	STEP_CHARSMAP, /* extra: which map; a: the replacements */
	STEP_STRIP, /* flags: STEP_LEFT, STEP_RIGHT */
	STEP_REPLACE, /* a: pattern, b: content; flags: STEP_REGEX */
	STEP_PREPEND, /* a */
	STEP_BYTES, /* bytes to the printable characters of GPT-2 */
	STEP_NORMAL_KINDS,
	STEP_CLASS = STEP_NORMAL_KINDS, /* split at characters of a class; extra: the classes */
	STEP_WORDS, /* runs of \w, runs of neither \w nor space */
	STEP_BYTE_LEVEL, /* flags: STEP_SPACE, STEP_REGEX */
	STEP_METASPACE, /* a: replacement; extra: scheme; flags: STEP_SPLIT */
	STEP_PATTERN, /* a; flags: STEP_REGEX, STEP_INVERT; behavior */
	STEP_KINDS
};

enum {
	STEP_ORDER = 1 << 0,
	STEP_COMPOSE = 1 << 1,
	STEP_LEFT = 1 << 2,
	STEP_RIGHT = 1 << 3,
	STEP_REGEX = 1 << 4,
	STEP_INVERT = 1 << 5,
	STEP_SPACE = 1 << 6,
	STEP_SPLIT = 1 << 7,
};

enum tokenizer_behavior {
	BEHAVIOR_REMOVED,
	BEHAVIOR_ISOLATED,
	BEHAVIOR_CONTIGUOUS,
	BEHAVIOR_PREVIOUS,
	BEHAVIOR_NEXT,
	BEHAVIORS
};

enum tokenizer_scheme { SCHEME_ALWAYS, SCHEME_FIRST, SCHEME_NEVER, SCHEMES };

struct tokenizer_step {
	uint32_t kind, flags, behavior, extra;
	struct tokenizer_span a, b;
};

enum tokenizer_frame_kind { FRAME_A, FRAME_B, FRAME_SPECIAL, FRAME_KINDS };

/* One place of the post-processor's template. */
struct tokenizer_frame {
	uint32_t kind, id, type;
};

enum {
	ADDED_WORD = 1 << 0, /* single_word */
	ADDED_LEFT = 1 << 1, /* lstrip */
	ADDED_RIGHT = 1 << 2, /* rstrip */
};

struct tokenizer_added {
	uint32_t id, flags;
};

/* a and b become id; the smallest rank goes first. a TOKENIZER_NONE: an empty slot. */
struct tokenizer_merge {
	uint32_t a, b, rank, id;
};

enum tokenizer_model { MODEL_WORDPIECE, MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDLEVEL, MODELS };

enum {
	HEAD_BYTE_FALLBACK = 1 << 0,
	HEAD_FUSE_UNKNOWN = 1 << 1,
	HEAD_IGNORE_MERGES = 1 << 2,
	HEAD_AFFIXES = 1 << 3, /* BPE with a prefix or suffix: short ids do not hold */
};

enum tokenizer_strategy { STRATEGY_LONGEST, STRATEGY_FIRST, STRATEGY_SECOND, STRATEGIES };

struct tokenizer_head {
	char magic[8];
	uint32_t version, head_size;
	uint64_t size; /* of the whole image */
	uint64_t checksum; /* of all that follows this member */
	uint32_t model, flags;
	uint32_t ids; /* every id is smaller */
	uint32_t unknown; /* id or TOKENIZER_NONE */
	uint32_t word_max; /* WordPiece: characters of a word */
	uint32_t max_length, strategy, cut_left;
	uint32_t single, single_len, pair, pair_len; /* in SECTION_FRAME */
	uint32_t single_added, pair_added; /* special tokens among them */
	uint32_t maps, pad;
	struct tokenizer_span prefix, suffix; /* of subwords */
	double min_score;
	uint32_t byte_ids[256]; /* of <0x00>..., or TOKENIZER_NONE */
	uint32_t short_ids[TOKENIZER_SHORT]; /* of single characters, or TOKENIZER_NONE */
	struct {
		uint64_t at, count;
	} sections[TOKENIZER_SECTIONS];
};

/* An attached image. */
struct tokenizer {
	const struct tokenizer_head *head;
#define X(id, name, type) const type *name;
	TOKENIZER_SECTION_LIST(X)
#undef X
	pcre2_code *normal_code[TOKENIZER_STEPS_MAX]; /* NULL where a step has no pattern */
	pcre2_code *split_code[TOKENIZER_STEPS_MAX];
};

#define SECTION_COUNT(t, id) ((size_t)(t)->head->sections[id].count)

/* A piece of a stage's text. id: what an added token already is, or TOKENIZER_NONE. */
struct tokenizer_piece {
	uint32_t at, len, id;
	uint32_t first; /* its text begins where the input begins */
	uint32_t tokens; /* of the sequence, up to the end of this piece */
};

struct tokenizer_stage {
	struct buf text;
	struct tokenizer_piece *pieces;
	size_t len, cap;
};

/* Ids of a piece of text seen before. */
enum { TOKENIZER_CACHE = 4096, TOKENIZER_CACHE_TEXT = 38, TOKENIZER_CACHE_IDS = 6 };
struct tokenizer_cached {
	uint8_t text_len, ids_len;
	char text[TOKENIZER_CACHE_TEXT];
	uint32_t ids[TOKENIZER_CACHE_IDS];
};

/* Unigram: the best way to a byte; BPE: a symbol (prev, next: indexes) */
struct tokenizer_node {
	double score;
	uint32_t from, id;
};
struct tokenizer_symbol {
	uint32_t id, prev, next, rank;
};

struct tokenizer_scratch {
	uint64_t owner; /* checksum of the image that the cache belongs to */
	struct tokenizer_stage stages[2];
	struct buf valid[2], normal[2], lead;
	struct buf nodes, symbols, heap, points;
	struct tokens parts[2];

	pcre2_match_data *match_data;
	pcre2_match_context *match_context;
	unsigned retries; /* pattern matches that may still be costly, in this text */
	uint64_t work; /* steps taken by models since the scratch was made: tests bound it */
	struct tokenizer_cached *cache;
};

/* tokenizer_image.c */
void tokenizer_seal(void *image, size_t len); /* fill in size and checksum */
uint32_t tokenizer_class(const struct tokenizer *t, uint32_t c);

/* tokenizer_unicode.c; classes: one per code point up to 0x10ffff */
void tokenizer_unicode_classes(uint16_t *classes);
bool tokenizer_unicode_decomposes(uint32_t c, bool compat);
/* The combining class; 0: nothing is put in order around c. */
unsigned tokenizer_unicode_order(uint32_t c);
/* Lower case of c into out[3]; how many. */
size_t tokenizer_unicode_lower(uint32_t *out, uint32_t c);
/* The printable character of GPT-2's byte alphabet. */
uint32_t tokenizer_unicode_byte(unsigned char byte);
/* Decode the first character of valid UTF-8; its length. */
size_t tokenizer_unicode_decode(uint32_t *out, const char *p);
/* text as valid UTF-8: a view of itself, or of copy. */
struct tokenizer_text tokenizer_unicode_valid(struct buf *copy, struct tokenizer_text text);

/*
 * tokenizer_trie.c: a double array over bytes. A unit holds the label it was reached by (byte + 1;
 * 0: end of a key), a leaf bit and the base of its children, or the value at the end of a key.
 */
enum { TRIE_LEAF = 1 << 9, TRIE_LABEL = TRIE_LEAF - 1, TRIE_SHIFT = 10, TRIE_MAX = 1 << 22 };
struct trie {
	const uint32_t *units;
	size_t len;
};
struct trie_key {
	const char *text;
	uint32_t len, value;
};
/* Keys in any order; of equal ones the last counts. False: too many. */
MUST bool trie_build(struct buf *out, struct trie_key *keys, size_t len);
/* Walk text from node; false where the path ends. */
bool trie_walk(struct trie t, uint32_t *node, const char *text, size_t len);
/* Value of the key that ends at node, or TOKENIZER_NONE. */
uint32_t trie_value(struct trie t, uint32_t node);
/* Value of exactly this key, or TOKENIZER_NONE. */
uint32_t trie_find(struct trie t, const char *text, size_t len);
/* Length of the longest key that text begins with, from node on, 0: none. *steps grows by the bytes
 * looked at. */
size_t trie_longest(uint32_t *value, struct trie t, uint32_t node, const char *text, size_t len,
	uint64_t *steps);
struct trie trie_vocab(const struct tokenizer *t);

/* tokenizer_map.c: making and applying maps of single characters */
struct tokenizer_draft;
/* What becomes of c: code points into out[64], or -1: itself. */
typedef int tokenizer_map_fn(uint32_t *out, uint32_t c, const void *arg);
void tokenizer_map_build(
	struct tokenizer_draft *d, uint32_t *index_out, tokenizer_map_fn *fn, const void *arg);
void tokenizer_map_charsmap(
	struct tokenizer_draft *d, uint32_t *index_out, struct tokenizer_span replacements);
uint32_t tokenizer_map_entry(const struct tokenizer *t, uint32_t map, uint32_t c);

/* tokenizer_charsmap.c: walk SentencePiece's double array; true: *at is where the replacement
 * (NUL-terminated) of the first key that text begins with lies. */
bool tokenizer_charsmap_find(
	uint32_t *at, const uint32_t *units, size_t units_len, const char *text, size_t len);

/* tokenizer_normal.c: one segment of text through all normalizers; the result replaces what lies in
 * out from at on. first: in, whether the segment begins the input; out, whether the result does. */
MUST enum err_code tokenizer_normalize(struct buf *out, bool *first, const struct tokenizer *t,
	struct tokenizer_scratch *s, struct tokenizer_text segment, struct err *e);

/* tokenizer_added.c: cut text at added tokens; the pieces go to out (at: offset in its text) */
enum tokenizer_when { TOKENIZER_RAW, TOKENIZER_LATE };
void tokenizer_added_cut(struct tokenizer_stage *out, const struct tokenizer *t,
	enum tokenizer_when when, struct tokenizer_text text, struct tokenizer_piece whole);

/* tokenizer_split.c: all pre-tokenizers over the pieces of s->stages[*at]; the last stage: *at */
MUST enum err_code tokenizer_split(
	const struct tokenizer *t, struct tokenizer_scratch *s, unsigned *at, struct err *e);
void tokenizer_stage_add(struct tokenizer_stage *stage, struct tokenizer_piece p);
void tokenizer_bytes_add(struct buf *out, const char *text, size_t len);

/* tokenizer_gpt2.c: length of the piece that text, which is not empty, begins with */
size_t tokenizer_gpt2_next(const struct tokenizer *t, struct tokenizer_text text);

/* tokenizer_pattern.c: compile; find the next match at or after from */
MUST enum err_code tokenizer_pattern_compile(
	pcre2_code **out, const char *pattern, size_t len, struct err *e);
enum tokenizer_found { FOUND_NONE, FOUND_YES, FOUND_TOO_COSTLY };
enum tokenizer_found tokenizer_pattern_find(size_t *begin, size_t *end, const struct tokenizer *t,
	const struct tokenizer_step *step, const pcre2_code *code, struct tokenizer_scratch *s,
	struct tokenizer_text text, size_t from);

/* Models: ids of one piece of text are added to out. False: an unknown token and none is set. */
typedef bool tokenizer_model_fn(struct tokens *out, const struct tokenizer *t,
	struct tokenizer_scratch *s, const char *text, size_t len);
bool tokenizer_wordpiece(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len);
bool tokenizer_bpe(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len);
bool tokenizer_unigram(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len);
bool tokenizer_wordlevel(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len);
void tokens_reserve(struct tokens *t, size_t more);
void tokens_add(struct tokens *t, uint32_t id);

/* An image being made. */
struct tokenizer_draft {
	struct tokenizer_head head;
	struct buf sections[TOKENIZER_SECTIONS];
	uint16_t *classes; /* one per code point: tokenizer_draft_classes */
	const char *what; /* the file, for messages */
	bool too_large; /* a map found no room for its text */
};
/* A key's value has the wrong type or content. */
enum err_code tokenizer_bad(
	const struct tokenizer_draft *d, const char *key, const char *want, struct err *e);
const uint16_t *tokenizer_draft_classes(struct tokenizer_draft *d); /* made when first asked for */
struct tokenizer_span tokenizer_draft_text(struct tokenizer_draft *d, const char *text, size_t len);
struct tokenizer_span tokenizer_draft_json(struct tokenizer_draft *d, struct json string);
/* tokenizer_compile_steps.c, ..._frame.c, ..._model.c */
MUST enum err_code tokenizer_compile_normalizer(
	struct tokenizer_draft *d, struct json v, struct err *e);
MUST enum err_code tokenizer_compile_splitter(
	struct tokenizer_draft *d, struct json v, struct err *e);
MUST enum err_code tokenizer_compile_frame(struct tokenizer_draft *d, struct json v, struct err *e);
/* count: tokens in the vocabulary */
MUST enum err_code tokenizer_compile_model(
	struct tokenizer_draft *d, struct json v, size_t *count, struct err *e);
