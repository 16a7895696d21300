/* SPDX-License-Identifier: Apache-2.0 */
/*
 * type_list.h - the one table of value types that a config key may have
 *
 * Without include guard: define CONFIG_TYPE and include it.
 *
 * CONFIG_TYPE(symbol, store, name, help)
 *   store   what the field in struct config is: enum config_store
 *   name    as the reference calls it
 */
CONFIG_TYPE(COUNT, U32, "number", "a whole number")
CONFIG_TYPE(SEED, U64, "number", "a whole number")
CONFIG_TYPE(SIGNED, I32, "number", "a whole number, negative allowed")
CONFIG_TYPE(REAL, DOUBLE, "decimal", "a number such as 0.25")
CONFIG_TYPE(SIZE, U64, "size", "bytes, or with a unit: 64KiB, 32MiB, 1GiB, 10MB")
CONFIG_TYPE(TIME, U32, "time", "milliseconds, or with a unit: 500ms, 30s, 1.5m, 1h")
CONFIG_TYPE(FLAG, BOOL, "yes/no", "yes or no (true or false)")
CONFIG_TYPE(TRI, ENUM, "yes/no/unknown", "yes, no or unknown")
CONFIG_TYPE(KIND, ENUM, "kind", "one of the backend kinds below")
CONFIG_TYPE(STRATEGY, ENUM, "strategy", "one of the strategies below")
CONFIG_TYPE(DTYPE, ENUM, "number format", "auto, f32, bf16 or i8; auto: bf16 where the CPU has it, else f32")
CONFIG_TYPE(ISA, ENUM, "instruction set",
	"auto, blas (portable, f32 only), avx2, avx512 or amx; auto: the best that this CPU has")
CONFIG_TYPE(TEXT_POLICY, ENUM, "text policy", "one of the text policies below")
CONFIG_TYPE(MID_STREAM, ENUM, "mid-stream policy", "one of the mid-stream policies below")
CONFIG_TYPE(PRIORITY, ENUM, "priority", "one of the priorities below")
CONFIG_TYPE(PREFILL, ENUM, "prefill", "one of the forms of prefill below")
CONFIG_TYPE(LOG_LEVEL, ENUM, "level", "error, warn, info or debug")
CONFIG_TYPE(LOG_FORMAT, ENUM, "format", "text or json")
CONFIG_TYPE(TEXT, TEXT, "text", "any text of at most 255 bytes")
CONFIG_TYPE(NAME, TEXT, "name",
	"letters, digits, `.`, `_` and `-`; starts with a letter or digit; at most 63")
CONFIG_TYPE(MODEL, TEXT, "model name",
	"printable, without spaces, quotes and commas; at most 255 bytes")
CONFIG_TYPE(PATH, TEXT, "path",
	"a file or folder; a relative one starts at the config file's folder")
CONFIG_TYPE(SCORER, TEXT, "scorer",
	"one of the scorers below: NAME, NAME:FILE (a relative file starts at the config file's "
	"folder) or encoder:NAME")
CONFIG_TYPE(URL, TEXT, "URL", "http:// or https://, without user, password, query and fragment")
CONFIG_TYPE(TEXTS, TEXTS, "list of text", "a list of texts")
CONFIG_TYPE(NAMES, TEXTS, "list of names", "a list of names")
CONFIG_TYPE(MODELS, TEXTS, "list of model names", "a list of model names")
CONFIG_TYPE(LISTEN, LISTEN, "list of addresses",
	"`IP:PORT`, `[IPv6]:PORT`, `unix:PATH` or `unix:PATH,mode=0660`")
CONFIG_TYPE(ROWS, ROWS, "list", "a list of maps, keys below")
CONFIG_TYPE(MAP, MAP, "map", "a map, keys below")
