/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_faults.c - each kind of fault in a config file: its line and its words
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "config/config.h"
#include "lib/base/buf.h"

#define BACKEND "backends: [{name: b, url: http://h}]\n" /* one line that makes a file whole */
#define SIM "backends: [{name: b, kind: sim}]\n"
/* m is served by an API that tells no probabilities, n by one that does. */
#define CASCADE(quality)                                                                           \
	"backends: [{name: a, kind: anthropic, url: http://h}, {name: b, kind: sim}]\n"            \
	"models: [{name: m, deployments: [{backend: a}]" quality                                   \
	"}, {name: n, quality: 0.9, deployments: [{backend: b}]}]\n"
#define MODEL "models: [{name: m, deployments: [{backend: b}]}]\n"

struct row {
	const char *text;
	unsigned line;
	const char *words; /* within the fault's text */
};

static const struct row rows[] = {
	/* what YAML itself forbids */
	{"backends:\n\t- name: x\n", 2, "cannot start any token"},
	{"backends:\n  - name: x\n foo\n", 3, "not valid YAML"},
	{"gateways: [1\n", 2, "not valid YAML"},
	{"a: \"\xff\"\n", 1, "not valid YAML"},
	{BACKEND "---\n" SIM, 2, "only one document"},
	{BACKEND "log: &a {level: info}\n", 2, "anchors and aliases"},
	{BACKEND "log: *a\n", 2, "anchors and aliases"},
	{BACKEND "log: !x {level: info}\n", 2, "tags"},
	{BACKEND "? [a]\n: b\n", 2, "a key must be"},
	{BACKEND "run_dir: \"a\\0b\"\n", 2, "NUL byte"},
	{"[[[[[[[[[[[[[[1]]]]]]]]]]]]]]\n", 1, "nested too deeply"},
	{"- a\n", 1, "the file must be a map"},
	/* keys */
	{BACKEND "gatewys: 2\n", 2,
		"unknown key `gatewys` in the top level; did you mean `gateways`?"},
	{BACKEND "\nzzzzzzzz: 2\n", 3, "unknown key `zzzzzzzz` in the top level"},
	{SIM "models:\n  - name: m\n    deployments:\n      - {backend: b, modle: x}\n", 5,
		"unknown key `modle` in models[0].deployments[0]; did you mean `model`?"},
	{BACKEND "limits:\n  body_byte: 1MiB\n", 3, "in limits; did you mean `body_bytes`?"},
	{BACKEND "gateways: 2\ngateways: 2\n", 3, "gateways: duplicate key, first on line 2"},
	{"backends:\n  - name: x\n    name: y\n    kind: sim\n", 3,
		"backends[0].name: duplicate key, first on line 2"},
	{BACKEND "models:\n", 2, "models: has no value"},
	{BACKEND "run_dir: ~\n", 2, "run_dir: has no value"},
	{"backends:\n  - kind: sim\n", 2, "backends[0].name: is required"},
	{SIM "models:\n  - name: m\n", 3, "models[0].deployments: is required"},
	{SIM "rules:\n  - name: r\n    words: [x]\n", 3, "rules[0].model: is required"},
	/* types */
	{BACKEND "gateways: two\n", 2, "gateways: `two` is not a number"},
	{BACKEND "gateways: \"2\"\n", 2, "gateways: must be a number: write it without quotes"},
	{BACKEND "gateways: 1.5\n", 2, "`1.5` is not a number"},
	{BACKEND "gateways: 0x2\n", 2, "`0x2` is not a number"},
	{BACKEND "gateways: 1e1\n", 2, "`1e1` is not a number"},
	{BACKEND "gateways: [2]\n", 2, "gateways: must be a number, not a list"},
	{BACKEND "log: info\n", 2, "log: must be a map, not one value"},
	{BACKEND "rules: {a: b}\n", 2, "rules: must be a list, not a map"},
	{BACKEND "rules: []\n", 2, "rules: the list is empty"},
	{BACKEND "rules:\n  - word\n", 3, "rules: every entry must be a map"},
	{BACKEND "listen: [[a]]\n", 2, "listen: every entry must be a text, not a list"},
	{BACKEND "pin_cpus: maybe\n", 2, "pin_cpus: `maybe` is none of no, yes"},
	{BACKEND "pin_cpus: \"yes\"\n", 2, "without quotes"},
	{BACKEND "log: {level: verbose}\n", 2,
		"log.level: `verbose` is none of error, warn, info, debug"},
	{BACKEND "log: {level: wran}\n", 2, "did you mean `warn`?"},
	{"backends:\n  - name: x\n    kind: olama\n    url: http://h\n", 3,
		"did you mean `ollama`?"},
	/* ranges */
	{BACKEND "gateways: 0\n", 2, "gateways: 0 is out of range: allowed is 1 to 16"},
	{BACKEND "gateways: 17\n", 2, "out of range"},
	{BACKEND "gateways: -1\n", 2, "out of range"},
	{BACKEND "gateways: 99999999999999999999999\n", 2, "out of range"},
	{BACKEND "limits: {body_bytes: 2GiB}\n", 2,
		"limits.body_bytes: 2GiB is out of range: allowed is 1KiB to 1GiB"},
	{BACKEND "limits: {body_bytes: 3XB}\n", 2, "is not a size"},
	{BACKEND "limits: {idle_ms: 3 weeks}\n", 2, "is not a time"},
	{BACKEND "limits: {idle_ms: 0.0001s}\n", 2, "is not a time"},
	{BACKEND "routes: [{name: r, dial: 1.5}]\n", 2,
		"routes[0].dial: 1.5 is out of range: allowed is 0 to 1"},
	{BACKEND "restart: {delay_ms: 5s, delay_max_ms: 1s}\n", 2,
		"restart.delay_max_ms: is less than"},
	/* texts */
	{"backends: [{name: a b, kind: sim}]\n", 1, "backends[0].name: `a b` may only have"},
	{"backends: [{name: -a, kind: sim}]\n", 1, "must start with a letter or digit"},
	{"backends: [{name: \"a\\nb\", kind: sim}]\n", 1, "may only have"},
	{"backends: [{name: aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg, "
	 "kind: sim}]\n",
		1, "longer than 63"},
	{"backends: [{name: \"\", kind: sim}]\n", 1, "is empty"},
	{SIM "models: [{name: \"a b\", deployments: [{backend: b}]}]\n", 2, "is no model name"},
	{SIM "models: [{name: \"*\", deployments: [{backend: b}]}]\n", 2, "stands for all models"},
	{SIM "routes: [{name: router-mf-1}]\n", 2, "SCORER-THRESHOLD"},
	/* URLs */
	{"backends: [{name: b, url: ftp://h}]\n", 1, "must start with http:// or https://"},
	{"backends: [{name: b, url: h:80}]\n", 1, "must start with http:// or https://"},
	{"backends: [{name: b, url: \"http://\"}]\n", 1, "has no host"},
	{"backends: [{name: b, url: \"http://h:0\"}]\n", 1, "has a port that is not"},
	{"backends: [{name: b, url: \"http://h:99999\"}]\n", 1, "has a port that is not"},
	{"backends: [{name: b, url: \"http://[::1\"}]\n", 1, "broken [IPv6]"},
	{"backends: [{name: b, url: \"http://u:secret@h\"}]\n", 1, "name it with `key_file`"},
	{"backends: [{name: b, url: \"http://h/v1?key=x\"}]\n", 1, "query or fragment"},
	{"backends: [{name: b, url: \"http://h/a b\"}]\n", 1, "holds a space"},
	{"backends:\n  - name: b\n    kind: openai\n", 2, "backends[0].url: is required"},
	{"backends:\n  - name: b\n    kind: sim\n    url: http://h\n", 4,
		"this kind has no server"},
	{"backends:\n  - name: b\n    url: http://h\n    sim: {tokens: 3}\n", 4,
		"is for kind sim only"},
	{"backends:\n  - name: b\n    url: http://localhost:8787/v1\n", 3,
		"is shunt's own address"},
	/* listen */
	{BACKEND "listen: [8787]\n", 2, "must be IP:PORT"},
	{BACKEND "listen: [gpu1:80]\n", 2, "needs an IP address"},
	{BACKEND "listen: [\"127.0.0.1:65536\"]\n", 2, "with a port of 0 to 65535"},
	{BACKEND "listen: [\"[::1:80\"]\n", 2, "needs an IP address"},
	{BACKEND "listen: [\"unix:a.sock\"]\n", 2, "needs an absolute path"},
	{BACKEND "listen: [\"unix:/a.sock,mode=999\"]\n", 2, "must be octal"},
	{BACKEND "listen: [\"unix:/a.sock,user=x\"]\n", 2, "only `,mode=0660` may follow"},
	{BACKEND "listen:\n  - 127.0.0.1:1\n  - 127.0.0.1:1\n", 4,
		"listen[1]: 127.0.0.1:1 is there twice"},
	{BACKEND "listen:\n  - localhost:1\n  - 127.0.0.1:1\n", 4, "is there twice"},
	/* names that must exist and be unique */
	{"gateways: 2\n", 0, "backends: there are none"},
	{"", 0, "backends: there are none"},
	{"backends:\n  - {name: b, kind: sim}\n  - {name: b, kind: sim}\n", 3,
		"backends[1].name: duplicate name `b`, already used by backends[0]"},
	{SIM MODEL "routes:\n  - name: m\n", 4, "duplicate name `m`, already used by models[0]"},
	{SIM "routes: [{name: r},\n  {name: r}]\n", 3, "already used by routes[0]"},
	{SIM "models:\n  - name: m\n    deployments:\n      - backend: bb2\n", 5,
		"models[0].deployments[0].backend: no backend is named `bb2`"},
	{SIM "models:\n  - name: m\n    deployments:\n      - {backend: b}\n      - {backend: b}\n",
		6, "models[0].deployments[1]: is the same as deployments[0]"},
	{SIM MODEL "routes:\n  - name: r\n    models:\n      - m\n      - nobody\n", 7,
		"routes[0].models[1]: no model is named `nobody`"},
	{SIM MODEL "routes:\n  - name: r\n    models: [m, m]\n", 5, "`m` is listed twice"},
	{SIM MODEL "routes:\n  - name: r\n    default_model: large\n", 5,
		"routes[0].default_model: no model is named `large`"},
	{"backends: [{name: b, kind: sim, sim: {models: [small]}}]\nroutes:\n  - name: r\n"
	 "    models: [smal]\n",
		4, "did you mean `small`?"},
	{SIM "routes: [{name: r, models: [x/y]}]\n", 2, "no model is named `x/y`"},
	{SIM "routes: [{name: r, scorer: magic}]\n", 2,
		"routes[0].scorer: no scorer is named `magic`"},
	{SIM "routes: [{name: r, scorer: \"liner:x\"}]\n", 2, "did you mean `linear`?"},
	{SIM "routes: [{name: r, scorer: \"heuristic:x\"}]\n", 2, "`heuristic` reads no file"},
	{SIM "routes: [{name: r, scorer: \"linear:\"}]\n", 2, "names no file behind the colon"},
	{SIM "encoders:\n"
	     "  - {name: a, folder: m, processes: 16}\n  - {name: b, folder: m, processes: 16}\n"
	     "  - {name: c, folder: m, processes: 16}\n  - {name: d, folder: m, processes: 16}\n"
	     "  - {name: e, folder: m, processes: 16}\n  - {name: f, folder: m, processes: 16}\n"
	     "  - {name: g, folder: m, processes: 16}\n  - {name: h, folder: m, processes: 12}\n",
		3, "encoders: with gateways and backends, 129 worker processes; at most 128"},
	{SIM "routes: [{name: r, scorer: encoder}]\n", 2, "there are no `encoders`"},
	{SIM "encoders: [{name: en, folder: m}]\nroutes: [{name: r, scorer: \"encoder:em\"}]\n", 3,
		"no encoder is named `em`"},
	{SIM "encoders: [{name: en, folder: m}]\nroutes: [{name: r, scorer: \"linear:f\", encoder: em}]\n",
		3, "routes[0].encoder: no encoder is named `em`"},
	{SIM "encoders: [{name: en, folder: m}]\nroutes: [{name: r, encoder: en}]\n", 3,
		"routes[0].encoder: is for scorer files; scorer heuristic reads none"},
	{SIM "encoders: [{name: en, folder: m}]\nroutes: [{name: r, scorer: encoder, encoder: en}]\n",
		3, "is for scorer files; write scorer: encoder:en instead"},
	{CASCADE("") "routes: [{name: r, scorer: cascade}]\n", 3, "needs a `threshold`"},
	{CASCADE(", quality: 0.1") "routes: [{name: r, scorer: cascade, threshold: 0.5}]\n", 3,
		"routes[0].scorer: none of the backends of `m`, the weak model, tells"},
	{SIM "models: [{name: m, deployments: [{backend: b}]}, {name: n, deployments: [{backend: "
	     "b}]}]\n"
	     "routes: [{name: r, scorer: cascade, threshold: 0.5}]\n",
		3, "can't tell which model is the weak one"},
	{SIM "routes: [{name: r, shadow: other}]\n", 2, "no route is named `other`"},
	{SIM "routes: [{name: r, experiment: {route: r, share: 0.5}}]\n", 2,
		"routes[0].experiment.route: is the route itself"},
	{SIM "routes: [{name: r, experiment: {share: 0.5}}]\n", 2, "who decides for the share?"},
	{SIM "routes: [{name: r, experiment: {share: 1.5}}]\n", 2, "out of range"},
	{SIM MODEL "rules:\n  - name: r\n    words: [x]\n    model: nobody\n", 6,
		"rules[0].model: no model or route is named `nobody`"},
	{SIM MODEL "rules:\n  - name: r\n    words: [x]\n    model: m\n    routes: [aut]\n", 7,
		"rules[0].routes[0]: no route is named `aut`; did you mean `auto`?"},
	{SIM MODEL "rules:\n  - name: r\n    model: m\n", 0, "can never fire"},
	{SIM MODEL "rules:\n  - name: r\n    model: m\n    words: [ok, \"*bad\"]\n", 6,
		"a * may only end a word"},
	/* faults on purpose */
	{SIM "faults:\n  - every: 3\n", 3, "faults[0].kind: is required"},
	{SIM "faults:\n  - kind: stats\n", 3, "faults[0].kind: no fault is named `stats`; did"},
	{SIM "faults:\n  - kind: status\n    every: 3\n    status: 200\n", 5,
		"faults[0].status: `200` is not between 400 and 599"},
	{SIM "faults:\n  - kind: status\n    route: aut\n", 4,
		"faults[0].route: no route is named `aut`; did you mean `auto`?"},
	{SIM "faults:\n  - {kind: reset}\n  - kind: kill\n", 4,
		"faults[1].worker: is required for a kill fault"},
	{SIM "faults:\n  - kind: reset\n    sttus: 500\n", 4, "unknown key `sttus` in faults[0]"},
};

ParameterizedTestParameters(config_faults, each_is_told_with_its_line)
{
	static size_t indices[ARRAY_LEN(rows)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		indices[i] = i;
	return cr_make_param_array(size_t, indices, ARRAY_LEN(rows));
}

ParameterizedTest(size_t *index, config_faults, each_is_told_with_its_line)
{
	const struct row *row = &rows[*index];
	struct config *c = NULL;
	struct config_faults faults;
	struct err e = {.code = ERR_OK};
	enum err_code code;

	code = config_parse(&c, "f.yaml", row->text, strlen(row->text), &faults, &e);
	cr_assert_eq(code, ERR_CONFIG, "row %zu was accepted:\n%s", *index, row->text);
	cr_assert_null(c);
	cr_assert_geq(faults.len, 1);
	/* A fault that comes with others stands among them; all rows here have theirs first. */
	cr_expect_not_null(strstr(faults.rows[0].text, row->words), "row %zu: `%s` not in `%s`",
		*index, row->words, faults.rows[0].text);
	if (row->line != 0 || strstr(row->words, "there are none") != NULL)
		cr_expect_eq(faults.rows[0].line, row->line, "row %zu (%s): line %u, not %u",
			*index, faults.rows[0].text, faults.rows[0].line, row->line);
}

Test(config_faults, all_are_told_in_line_order_and_the_first_becomes_the_error)
{
	static const char text[] = "backends:\n"
				   "  - {name: x, kind: sim}\n"
				   "  - {name: x, kind: sim}\n" /* found last, stands first */
				   "gateways: 0\n"
				   "nonsense: 1\n";
	struct config *c = NULL;
	struct config_faults faults;
	struct err e;

	cr_assert_eq(config_parse(&c, "/etc/f.yaml", text, strlen(text), &faults, &e), ERR_CONFIG);
	cr_assert_eq(faults.len, 3);
	cr_assert_eq(faults.rows[0].line, 3);
	cr_assert_eq(faults.rows[1].line, 4);
	cr_assert_eq(faults.rows[2].line, 5);
	cr_assert_eq(strncmp(e.text, "/etc/f.yaml:3: backends[1].name: ", 33), 0, "%s", e.text);
}

Test(config_faults, more_than_fit_are_counted_and_the_topmost_kept)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config *c = NULL;
	struct config_faults faults;
	struct err e;

	buf_add_str(&text, SIM);
	for (int i = 0; i < 80; i++)
		buf_addf(&text, "unknown%d: 1\n", i);
	cr_assert_eq(config_parse(&c, "f", buf_str(&text), text.len, &faults, &e), ERR_CONFIG);
	cr_assert_eq(faults.len, CONFIG_FAULTS_MAX);
	cr_assert_eq(faults.more, 80 - CONFIG_FAULTS_MAX);
	for (unsigned i = 0; i < CONFIG_FAULTS_MAX; i++)
		cr_assert_eq(faults.rows[i].line, i + 2);
}

Test(config_faults, a_secret_in_a_url_is_never_repeated)
{
	static const char text[] = "backends: [{name: b, url: \"https://me:hunter2@h/v1\"}]\n";
	struct config *c = NULL;
	struct config_faults faults;
	struct err e;

	cr_assert_eq(config_parse(&c, "f", text, strlen(text), &faults, &e), ERR_CONFIG);
	cr_assert_eq(faults.len, 1, "a broken value must bring no follow-on fault");
	cr_assert_null(strstr(faults.rows[0].text, "hunter2"));
	cr_assert_null(strstr(e.text, "hunter2"));
}

Test(config_faults, a_fault_is_one_line_whatever_the_file_holds)
{
	static const char text[] = SIM "\"evil\\e[2J\\nkey\": 1\n";
	struct config *c = NULL;
	struct config_faults faults;
	struct err e;

	cr_assert_eq(config_parse(&c, "f", text, strlen(text), &faults, &e), ERR_CONFIG);
	for (const char *p = faults.rows[0].text; *p != '\0'; p++)
		cr_assert_geq((unsigned char)*p, 0x20);
}

Test(config_faults, a_file_that_is_too_large_is_refused)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config *c = NULL;
	struct err e;

	buf_add_str(&text, SIM);
	while (text.len < CONFIG_FILE_MAX)
		buf_add_str(&text, "# a comment that says nothing at all\n");
	text.len = CONFIG_FILE_MAX;
	cr_assert_eq(config_parse(&c, "f", text.data, text.len, NULL, &e), ERR_OK, "%s", e.text);
	config_free(&c);
	text.len = CONFIG_FILE_MAX + 1;
	cr_assert_eq(config_parse(&c, "f", text.data, text.len, NULL, &e), ERR_CONFIG);
	cr_assert_not_null(strstr(e.text, "larger than 512 KiB"));
}

Test(config_faults, too_many_values_are_refused)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config *c = NULL;
	struct err e;

	buf_add_str(&text, "a: [");
	for (int i = 0; i < 70000; i++)
		buf_add_str(&text, "1,");
	buf_add_str(&text, "1]\n");
	cr_assert_eq(config_parse(&c, "f", text.data, text.len, NULL, &e), ERR_CONFIG);
	cr_assert_not_null(strstr(e.text, "too many values"), "%s", e.text);
}

Test(config_faults, a_missing_file_and_a_folder_are_told)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config *c = NULL;
	struct config_faults faults;
	struct err e;

	cr_assert_eq(config_load(&c, &text, "/nonexistent/x.yaml", &faults, &e), ERR_CONFIG);
	cr_assert_str_eq(e.text, "/nonexistent/x.yaml: No such file or directory");
	cr_assert_eq(config_load(&c, &text, "/", &faults, &e), ERR_CONFIG);
	cr_assert_str_eq(e.text, "/: is a folder");
	cr_assert_null(c);
}
