/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_courtesy.c - greetings, thanks and other openings that say nothing of what is asked
 *
 * "Hi there! Could you help me with this? Thanks." before a question makes it no harder, but fills
 * a short prompt with words that it was not trained to look past. Whole sentences of the text's
 * beginning are passed over while they are made of nothing but the words below.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/routing/scorer_courtesy.h"
#include "lib/routing/scorer_shape.h"

enum { COURTESY_WORD_MAX = 12, COURTESY_UNITS_MAX = 600 };

/* clang-format off */
static const char *const courtesy_words[] = { /* sorted */
	"a", "able", "about", "advance", "again", "ai", "all", "also", "am", "an", "and", "answer",
	"answering", "any", "anyone", "apologies", "appreciate", "appreciated", "are", "as",
	"asap", "asking", "assist", "assistance", "assistant", "at", "attached", "be", "been",
	"below", "best", "bot", "bother", "brief", "briefly", "but", "by", "can", "care",
	"carefully", "chat", "chatbot", "cheers", "colleague", "colleagues", "could", "d", "day",
	"dear", "do", "doing", "evening", "everyone", "excuse", "expert", "fine", "folks",
	"following", "for", "forward", "forwarded", "friend", "friends", "from", "fwd", "fyi",
	"get", "getting", "give", "glad", "going", "good", "got", "great", "greetings", "guys",
	"had", "happy", "have", "hello", "help", "helpful", "here", "hey", "hi", "hope", "hoping",
	"how", "i", "if", "im", "in", "is", "it", "just", "kind", "kindly", "know", "let", "like",
	"ll", "look", "looking", "m", "ma", "madam", "me", "message", "morning", "my", "need",
	"nice", "now", "of", "ok", "okay", "on", "original", "out", "over", "pasted", "patience",
	"please", "pls", "question", "questions", "quick", "quickly", "re", "read", "reading",
	"really", "regards", "reply", "request", "respond", "s", "see", "seen", "send", "sent",
	"should", "sir", "so", "some", "someone", "something", "sorry", "stuck", "sure", "take",
	"task", "team", "tell", "text", "thank", "thanking", "thanks", "that", "the", "there",
	"thing", "this", "thx", "time", "to", "today", "trying", "us", "ve", "very", "want",
	"wanted", "was", "we", "week", "weekend", "well", "were", "wish", "with", "wonder",
	"wondering", "would", "yes", "you", "your", "yourself",
};
/* clang-format on */

static int
courtesy_compare(const void *key, const void *row)
{
	return strcmp(key, *(const char *const *)row);
}

static bool
courtesy_word(const uint32_t *u, size_t len)
{
	char word[COURTESY_WORD_MAX + 1];
	size_t i;

	if (len > COURTESY_WORD_MAX)
		return false;
	for (i = 0; i < len; i++) {
		if (u[i] < 'a' || u[i] > 'z')
			return false;
		word[i] = (char)u[i];
	}
	word[len] = '\0';
	return bsearch(word, courtesy_words, ARRAY_LEN(courtesy_words), sizeof(courtesy_words[0]),
		       courtesy_compare) != NULL;
}

static bool
courtesy_end(uint32_t c)
{
	return c == '.' || c == '!' || c == '?' || c == ':';
}

size_t
courtesy_units(const uint32_t *u, size_t n)
{
	size_t i = 0, from, start = 0;

	while (i < n && i < COURTESY_UNITS_MAX) {
		if (shape_class(u[i]) == SHAPE_OTHER) {
			/* the last sentence of a text is what it is about, whatever it says */
			if (courtesy_end(u[i]) && i + 2 < n && u[i + 1] == ' ')
				start = i + 1;
			i++;
			continue;
		}
		for (from = i; i < n && shape_class(u[i]) != SHAPE_OTHER; i++)
			;
		if (!courtesy_word(&u[from], i - from))
			return start;
	}
	return i < n ? start : 0;
}
