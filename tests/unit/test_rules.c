/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rules.c - word rules: whole words, phrases, continuations, exceptions, priorities
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/routing/parts.h"

/* The classes that utterances to an assistant fall into; everything else is chat. */
static const char assistant_config[] =
	"listen: [127.0.0.1:0]\n"
	"backends:\n"
	"  - {name: b, kind: sim, sim: {models: [m]}}\n"
	"models:\n"
	"  - {name: small, deployments: [{backend: b, model: m}]}\n"
	"  - {name: large, deployments: [{backend: b, model: m}]}\n"
	"routes:\n"
	"  - {name: auto, models: [small, large]}\n"
	"  - {name: other, models: [small, large]}\n"
	"rules:\n"
	"  - {name: vision, priority: 90, on_image: yes, model: large}\n"
	"  - name: memory\n"
	"    priority: 60\n"
	"    words: [remember, recall, \"what did\", \"last time\", \"who is\", \"remind me "
	"what\"]\n"
	"    except: [\"who is the\", \"recall rate\", \"what did the\"]\n"
	"    model: large\n"
	"  - name: action\n"
	"    priority: 50\n"
	"    words: [\"add to\", \"add * to\", \"add milk\", create*, schedule*, remind, set, "
	"event]\n"
	"    except: [\"set theory\", \"data set\", \"set of\", \"schedule of\", \"create "
	"account\"]\n"
	"    model: large\n"
	"  - {name: tools, priority: 10, on_tools: yes, model: large, routes: [other]}\n";

static struct config *
config_of(const char *yaml)
{
	struct config *c = NULL;
	struct err e = {0};

	cr_assert_eq(
		config_parse(&c, "test.yaml", yaml, strlen(yaml), NULL, &e), ERR_OK, "%s", e.text);
	return c;
}

static const char *
fired(const struct route_rules *rules, const char *text, const char *route)
{
	struct route_request r = {.turns = {text}, .turns_len = {strlen(text)}, .turns_count = 1};
	const struct config_rule *rule = rules_match(rules, &r, route);

	return rule != NULL ? rule->name : "chat";
}

struct fixture {
	struct config *c;
	struct route_rules *rules;
};

static struct fixture
assistant(void)
{
	static char yaml[sizeof(assistant_config)];
	struct fixture f = {0};
	char *star;

	/* "add * to" is no phrase: a star ends a word */
	memcpy(yaml, assistant_config, sizeof(yaml));
	star = strstr(yaml, "\"add * to\", ");
	memset(star, ' ', strlen("\"add * to\", "));
	f.c = config_of(yaml);
	route_rules_new(&f.rules, f.c);
	return f;
}

static void
done(struct fixture *f)
{
	route_rules_free(&f->rules);
	config_free(&f->c);
}

Test(rules, the_three_utterances_go_to_chat_action_and_memory)
{
	struct fixture f = assistant();

	for (int i = 0; i < 1000; i++) {
		cr_assert_str_eq(fired(f.rules, "Hi there! How are you today?", "auto"), "chat");
		cr_assert_str_eq(fired(f.rules, "Add milk to my shopping list", "auto"), "action");
		cr_assert_str_eq(
			fired(f.rules, "What do you remember about me?", "auto"), "memory");
	}
	done(&f);
}

Test(rules, near_misses_stay_chat)
{
	static const char *const texts[] = {
		"How do I prevent rust on my bike?",
		"Tell me about the asset class",
		"Who was the president in 1970?",
		"What is the address of the embassy?",
		"Do I need a building permit?",
		"What's the latest news?",
		"What should I eat for breakfast?",
		"Please decode this base64 string",
		"The sunset was beautiful",
		"I feel upset",
		"My mindset has changed",
		"Reset my expectations",
		"The offset is wrong",
		"What is an off-set print?",
		"Is a jet-set life fun?",
		"setting suns are nice",
		"She settles in Rome",
		"The settlement was large",
		"A setback in the project",
		"Eventually it rains",
		"An eventful day",
		"the seventh event-horizon paper",
		"Inventing things is fun",
		"adventures in prevention",
		"What does event.preventDefault do?",
		"explain set_value in this code",
		"mail me@set.org about it",
		"Recreate the past",
		"procreate is an app",
		"He is a reminder of home",
		"reminds me of summer",
		"Unscheduled stops annoy me",
		"rescheduled flights",
		"the address book is old",
		"ladder to heaven",
		"saddle to horse",
		"add. To be sure, ask again",
		"addto is no word",
		"Explain set theory",
		"This data set is large",
		"a set of rules",
		"a schedule of payments",
		"Who is the president?",
		"recall rate of a classifier",
		"misremembered facts",
		"what didactic means",
		"at last timely help",
		"whois lookup for a domain",
		"\xc3\xa9vent is French",
		"the \xc3\xbcset of things",
		"set\xc3\xa9 is no word",
		"\xd1\x81set is mixed script",
	};
	struct fixture f = assistant();

	cr_assert_geq(ARRAY_LEN(texts), 40);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		cr_expect_str_eq(fired(f.rules, texts[i], "auto"), "chat", "%s", texts[i]);
	done(&f);
}

Test(rules, hits_are_found_wherever_a_word_can_stand)
{
	static const char *const texts[] = {
		"set an alarm",
		"SET AN ALARM",
		"please set",
		"(set)",
		"\"set\"",
		"now,set it",
		"set.",
		"set!",
		"Please\nset\tit",
		"\xe2\x80\x9cset\xe2\x80\x9d",
		"yes\xe2\x80\x94set it",
		"let's set it",
		("\xe4\xbd\xa0\xe5\xa5\xbd"
		 "set"),
		"add to my list",
		"add   to it",
		"add\n\tto it",
		"add\xc2\xa0to it",
		"created a file",
		"creation? create!",
		"create",
		"Scheduler",
		"schedule",
		"the event's time",
		"set theory aside and set a timer",
	};
	struct fixture f = assistant();

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		cr_expect_str_eq(fired(f.rules, texts[i], "auto"), "action", "%s", texts[i]);
	done(&f);
}

Test(rules, the_higher_priority_wins_whatever_comes_first)
{
	struct fixture f = assistant();
	struct route_request r = {
		.turns = {"set it"}, .turns_len = {6}, .turns_count = 1, .vision = true};

	cr_assert_str_eq(fired(f.rules, "Remind me what we planned", "auto"), "memory");
	cr_assert_str_eq(fired(f.rules, "set what you remember", "auto"), "memory");
	cr_assert_str_eq(rules_match(f.rules, &r, "auto")->name, "vision");
	done(&f);
}

Test(rules, images_tools_and_routes_restrict_a_rule)
{
	struct fixture f = assistant();
	struct route_request r = {.tools = true};

	cr_assert_null(rules_match(f.rules, &r, "auto"), "the tools rule is for another route");
	cr_assert_str_eq(rules_match(f.rules, &r, "other")->name, "tools");
	r.tools = false;
	cr_assert_null(rules_match(f.rules, &r, "other"));
	done(&f);
}

Test(rules, an_exception_excuses_only_the_hit_inside_it)
{
	struct fixture f = assistant();

	cr_assert_str_eq(fired(f.rules, "a set of tools", "auto"), "chat");
	cr_assert_str_eq(fired(f.rules, "a set of tools; then set one", "auto"), "action");
	cr_assert_str_eq(fired(f.rules, "set a set of tools", "auto"), "action");
	cr_assert_str_eq(fired(f.rules, "create account", "auto"), "chat");
	cr_assert_str_eq(fired(f.rules, "create an account", "auto"), "action");
	done(&f);
}

Test(rules, many_excused_hits_do_not_hide_a_real_one)
{
	struct fixture f = assistant();
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (int i = 0; i < 2000; i++)
		buf_add_str(&text, "a set of ");
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "chat");
	buf_add_str(&text, "and set it");
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "action");
	done(&f);
}

Test(rules, both_ends_of_a_long_text_are_read)
{
	struct fixture f = assistant();
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (int i = 0; i < 20000; i++)
		buf_add_str(&text, "words of a paste ");
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "chat");
	buf_add_str(&text, "remind me");
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "action");
	done(&f);
}

/* Where a long text is cut, half a word is no word. */
Test(rules, a_cut_makes_no_words)
{
	struct fixture f = assistant();
	AUTO(buf_fini) struct buf text = BUF_INIT;

	while (text.len < 16 * 1024 - 7)
		buf_add_char(&text, '.');
	buf_add_str(&text, " remindful ");
	while (text.len < 33 * 1024)
		buf_add_char(&text, '.');
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "chat");
	buf_add_str(&text, " asset ");
	while (text.len < 33 * 1024 + 7 - 4 + 16 * 1024)
		buf_add_char(&text, '.');
	cr_assert_str_eq(fired(f.rules, buf_str(&text), "auto"), "chat");
	done(&f);
}

static void
count_hit(void *arg, uint32_t value, uint32_t from, uint32_t to)
{
	unsigned *hits = arg;

	(void)from;
	(void)to;
	hits[value]++;
}

Test(phrases, overlapping_phrases_are_all_found)
{
	struct phrases *p = phrases_new();
	unsigned hits[6] = {0};
	static const char text[] = "new york city hall, york; New Yorkers in NEW  YORK CITY";

	cr_assert(phrases_add(p, "new york", 0));
	cr_assert(phrases_add(p, "new york city", 1));
	cr_assert(phrases_add(p, "york", 2));
	cr_assert(phrases_add(p, "york city hall", 3));
	cr_assert(phrases_add(p, "york*", 4));
	cr_assert(phrases_add(p, "new york* in", 5));
	cr_assert_not(phrases_add(p, " ,*", 5));
	phrases_scan(p, text, sizeof(text) - 1, count_hit, hits);
	cr_assert_eq(hits[0], 2);
	cr_assert_eq(hits[1], 2);
	cr_assert_eq(hits[2], 3);
	cr_assert_eq(hits[3], 1);
	cr_assert_eq(hits[4], 4);
	cr_assert_eq(hits[5], 1);
	cr_assert_eq(phrases_longest(p), 3);
	phrases_free(&p);
}

Test(phrases, letters_of_other_scripts_are_folded_and_bound)
{
	struct phrases *p = phrases_new();
	unsigned hits[4] = {0};
	static const char text[] =
		"\xc3\x89T\xc3\x89 \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 "
		"\xe8\xaf\xb7\xe6\x8f\x90\xe9\x86\x92\xe6\x88\x91 C++ c# r\xc3\xa9\x74\xc3\xa9";

	cr_assert(phrases_add(p, "\xc3\xa9t\xc3\xa9", 0));
	cr_assert(phrases_add(p, "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82", 1));
	cr_assert(phrases_add(p, "\xe6\x8f\x90\xe9\x86\x92", 2));
	cr_assert(phrases_add(p, "c++", 3));
	phrases_scan(p, text, sizeof(text) - 1, count_hit, hits);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(hits[i], 1, "phrase %d was found %u times", i, hits[i]);
	phrases_free(&p);
}

Test(phrases, two_thousand_are_found_as_quickly_as_one)
{
	struct phrases *p = phrases_new();
	unsigned *hits = calloc(2000, sizeof(*hits));
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char name[32];

	for (uint32_t i = 0; i < 2000; i++) {
		(void)snprintf(name, sizeof(name), i % 3 == 0 ? "word%u*" : "word%u tail", i);
		cr_assert(phrases_add(p, name, i));
	}
	for (unsigned i = 0; i < 2000; i++)
		buf_addf(&text, "word%ux word%u tail ", i, i);
	phrases_scan(p, text.data, text.len, count_hit, hits);
	for (unsigned i = 0; i < 2000; i++)
		cr_assert_geq(hits[i], i % 3 == 0 ? 2 : 1, "phrase %u", i);
	phrases_free(&p);
	free(hits);
}

Test(phrases, any_bytes_are_read_to_their_end)
{
	struct phrases *p = phrases_new();
	unsigned hits[1] = {0};
	uint64_t state = 1;

	cr_assert(phrases_add(p, "set*", 0));
	for (int round = 0; round < 3000; round++) {
		size_t len = (size_t)round % 97;
		char *text = malloc(len + 1);

		for (size_t i = 0; i < len; i++) {
			state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
			text[i] = (char)(state >> 56);
		}
		phrases_scan(p, text, len, count_hit, hits);
		free(text);
	}
	phrases_free(&p);
}
