/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_list.h - the one table of config sections and keys
 *
 * Without include guard: define those of the macros that are wanted and include it; it undefines
 * them. The parser, defaults, range checks, freeing, hashes, `--check`, docs/config.md and the man
 * page come out of these rows: a new key is one row here and one field in config.h.
 *
 * CONFIG_SECTION(symbol, owner, path, help)
 *   owner   the struct that holds its fields; path: how the reference writes it
 * CONFIG_ROW_SECTION: likewise, for the rows of a list; owner has a field `line`
 * CONFIG_KEY(section, key, type, field, default, min, max, unit, help)
 *   type    row of type_list.h; default: REQUIRED, NOT_SAID (NULL, 0, negative or unknown), or text
 *   min max for numbers their range, for text unused
 * CONFIG_LIST(section, key, type, field, child, default, most, help)
 *   field_len counts; child: section of the rows (NONE for texts); most: how many are allowed
 * CONFIG_MAP(section, key, child, help)
 */
/* clang-format off */
#ifndef CONFIG_SECTION
#define CONFIG_SECTION(symbol, owner, path, help)
#endif
#ifndef CONFIG_ROW_SECTION
#define CONFIG_ROW_SECTION(symbol, owner, path, help) CONFIG_SECTION(symbol, owner, path, help)
#endif
#ifndef CONFIG_KEY
#define CONFIG_KEY(section, key, type, field, def, min, max, unit, help)
#endif
#ifndef CONFIG_LIST
#define CONFIG_LIST(section, key, type, field, child, def, most, help)
#endif
#ifndef CONFIG_MAP
#define CONFIG_MAP(section, key, child, help)
#endif

CONFIG_SECTION(TOP, struct config, "top level", "")
CONFIG_LIST(TOP, listen, LISTEN, listen, NONE, "127.0.0.1:8787", 16,
	"where clients connect; RUN_DIR/shunt.sock is always added for the command line. Port "
	"0: any free one")
CONFIG_KEY(TOP, run_dir, PATH, run_dir, NOT_SAID, 0, 0, "",
	"runtime folder, 0700; default $RUNTIME_DIRECTORY (systemd), else /run/shunt for root, else "
	"$XDG_RUNTIME_DIR/shunt or /tmp/shunt-UID")
CONFIG_KEY(TOP, state_dir, PATH, state_dir, NOT_SAID, 0, 0, "",
	"where the journal is kept; default $STATE_DIRECTORY (systemd), else RUN_DIR/state where "
	"run_dir is given, else /var/lib/shunt for root, $XDG_STATE_HOME/shunt or "
	"~/.local/state/shunt")
CONFIG_KEY(TOP, gateways, COUNT, gateways, "2", 1, 16, "",
	"gateway processes on the listening sockets")
CONFIG_KEY(TOP, discover_local, FLAG, discover_local, "no", 0, 0, "",
	"add a backend for Ollama (11434), llama.cpp (8080) and vLLM (8000) on 127.0.0.1")
CONFIG_MAP(TOP, log, LOG, "what is logged, to standard error")
CONFIG_MAP(TOP, limits, LIMITS, "what a client may ask for")
CONFIG_MAP(TOP, auth, AUTH, "who may connect")
CONFIG_MAP(TOP, restart, RESTART, "how a dead worker comes back")
CONFIG_MAP(TOP, breaker, BREAKER, "when a deployment that fails is left alone")
CONFIG_MAP(TOP, queue, QUEUE, "requests that wait while all who could answer are full")
CONFIG_MAP(TOP, journal, JOURNAL, "the record of every request and every attempt")
CONFIG_KEY(TOP, start_ms, TIME, start_ms, "10s", 100, 600000, "",
	"a worker that is not ready by then is killed")
CONFIG_KEY(TOP, heartbeat_ms, TIME, heartbeat_ms, "5s", 100, 600000, "",
	"a worker silent for this long is killed")
CONFIG_KEY(TOP, drain_ms, TIME, drain_ms, "30s", 0, 3600000, "",
	"time that running requests get when a worker is stopped or replaced")
CONFIG_KEY(TOP, spin_us, COUNT, spin_us, "0", 0, 1000, "us",
	"busy workers look again for this long before they sleep: lower latency for more CPU")
CONFIG_KEY(TOP, pin_cpus, FLAG, pin_cpus, "no", 0, 0, "",
	"keep the workers of one request path on one core")
CONFIG_KEY(TOP, prompt_log_bytes, SIZE, prompt_log_bytes, "0", 0, 1073741824, "",
	"each gateway writes the prompts that it routes to STATE_DIR/prompts, for `shunt calibrate`, up "
	"to so many bytes; 0: prompts are written down nowhere")
CONFIG_LIST(TOP, backends, ROWS, backends, BACKEND, NOT_SAID, 64,
	"the upstreams; one worker process each")
CONFIG_LIST(TOP, encoders, ROWS, encoders, ENCODER, NOT_SAID, 16,
	"encoder models that shunt runs itself, to score prompts and to make embeddings; one or "
	"more worker processes each")
CONFIG_LIST(TOP, models, ROWS, models, MODEL, NOT_SAID, 256,
	"names for what backends serve, with prices and abilities; without it, what backends list")
CONFIG_LIST(TOP, routes, ROWS, routes, ROUTE, NOT_SAID, 64,
	"names that clients put in `model` to have one chosen; without it, `auto` over all models")
CONFIG_LIST(TOP, rules, ROWS, rules, RULE, NOT_SAID, 256, "word rules that decide before the score")
CONFIG_LIST(TOP, faults, ROWS, faults, FAULT, NOT_SAID, 32,
	"faults on purpose, for rehearsals: nothing of it in a daemon that people rely on")

CONFIG_SECTION(LOG, struct config, "log", "What is logged.")
CONFIG_KEY(LOG, level, LOG_LEVEL, log_level, "info", 0, 0, "", "the least level that is written")
CONFIG_KEY(LOG, format, LOG_FORMAT, log_format, "text", 0, 0, "",
	"lines for people or JSON for machines")

CONFIG_SECTION(LIMITS, struct config, "limits",
	"What a client may ask for. Past a limit it gets an error that says so.")
CONFIG_KEY(LIMITS, body_bytes, SIZE, limits.body_bytes, "32MiB", 1024, 1073741824, "",
	"request body")
CONFIG_KEY(LIMITS, header_bytes, SIZE, limits.header_bytes, "32KiB", 1024, 1048576, "",
	"request line and headers")
CONFIG_KEY(LIMITS, response_bytes, SIZE, limits.response_bytes, "64MiB", 1024, 1073741824, "",
	"an answer that is not streamed")
CONFIG_KEY(LIMITS, connections, COUNT, limits.connections, "1024", 1, 100000, "",
	"open connections per gateway")
CONFIG_KEY(LIMITS, header_ms, TIME, limits.header_ms, "10s", 100, 600000, "",
	"whole request head, from its first byte")
CONFIG_KEY(LIMITS, body_ms, TIME, limits.body_ms, "60s", 100, 3600000, "", "whole request body")
CONFIG_KEY(LIMITS, body_min_bytes_per_s, SIZE, limits.body_min_bytes_per_s, "1KiB", 0,
	1073741824, "",
	"a body that arrives slower is given up; 0: no such check")
CONFIG_KEY(LIMITS, idle_ms, TIME, limits.idle_ms, "75s", 100, 86400000, "",
	"kept-alive connection without a request")
CONFIG_KEY(LIMITS, write_ms, TIME, limits.write_ms, "30s", 100, 3600000, "",
	"client takes no byte of its answer")
CONFIG_KEY(LIMITS, request_ms, TIME, limits.request_ms, "10m", 100, 86400000, "",
	"whole life of a request")

CONFIG_SECTION(AUTH, struct config, "auth",
	"Who may connect. Keys live in files, one a line; `#` starts a comment.")
CONFIG_KEY(AUTH, keys_file, PATH, auth.keys_file, NOT_SAID, 0, 0, "",
	"API keys of clients; without it everybody who can connect is served")
CONFIG_KEY(AUTH, admin_keys_file, PATH, auth.admin_keys_file, NOT_SAID, 0, 0, "",
	"keys for /admin over TCP; without it only the Unix socket may")

CONFIG_SECTION(RESTART, struct config, "restart",
	"How a dead worker comes back: at once at first, then after a doubling delay with jitter.")
CONFIG_KEY(RESTART, delay_ms, TIME, restart.delay_ms, "10ms", 1, 60000, "", "first delay")
CONFIG_KEY(RESTART, delay_max_ms, TIME, restart.delay_max_ms, "10s", 1, 3600000, "",
	"longest delay")
CONFIG_KEY(RESTART, healthy_ms, TIME, restart.healthy_ms, "5s", 1, 3600000, "",
	"ready for this long: the delay starts over")

CONFIG_SECTION(BREAKER, struct config, "breaker",
	"When a deployment that fails is left alone, and how long requests wait for one.")
CONFIG_KEY(BREAKER, enabled, FLAG, breaker.enabled, "yes", 0, 0, "",
	"no: every deployment is called, however it fails and whatever pause it asks for")
CONFIG_KEY(BREAKER, window_ms, TIME, breaker.window_ms, "30s", 100, 3600000, "",
	"calls that ended longer ago are forgotten; of the others, the latest 128 count")
CONFIG_KEY(BREAKER, min_calls, COUNT, breaker.min_calls, "5", 1, 128, "calls",
	"fewer in the window say nothing")
CONFIG_KEY(BREAKER, failure_rate, REAL, breaker.failure_rate, "0.5", 0.01, 1, "",
	"from this share of failures on, it opens: no more calls go there")
CONFIG_KEY(BREAKER, open_ms, TIME, breaker.open_ms, "1s", 1, 3600000, "",
	"until one call is tried again, where the upstream did not say when (Retry-After)")
CONFIG_KEY(BREAKER, open_max_ms, TIME, breaker.open_max_ms, "60s", 1, 3600000, "",
	"each trial that fails doubles the time, up to this")
CONFIG_KEY(BREAKER, wait_ms, TIME, breaker.wait_ms, "5s", 0, 600000, "",
	"a request for which all candidates are left alone waits this long, within its deadline, "
	"for one that will be asked again by then; 0: it is refused at once")
CONFIG_KEY(BREAKER, retry_share, REAL, breaker.retry_share, "0.2", 0, 100, "",
	"attempts after a failed one, as a share of all requests of a gateway: an outage is not "
	"multiplied; as many again for hedges")
CONFIG_KEY(BREAKER, retry_burst, COUNT, breaker.retry_burst, "100", 0, 100000, "attempts",
	"so many more, saved up while all was well")

CONFIG_SECTION(QUEUE, struct config, "queue",
	"Requests that wait while all who could answer them have `max_in_flight` calls. Of each gateway.")
CONFIG_KEY(QUEUE, max, COUNT, queue.max, "512", 0, 4096, "requests",
	"more are refused, or take the place of one with a lower priority; 0: nobody waits")
CONFIG_KEY(QUEUE, max_per_user, COUNT, queue.max_per_user, "256", 1, 4096, "requests",
	"of one user: the name of its key, a key without a name, a Unix user, else an IP address")
CONFIG_KEY(QUEUE, max_bytes, SIZE, queue.max_bytes, "256MiB", 1024, 1099511627776, "",
	"of the bodies of all that wait")
CONFIG_KEY(QUEUE, wait_ms, TIME, queue.wait_ms, "60s", 1, 86400000, "",
	"longest wait, within the request's deadline; who is expected to wait longer is refused at "
	"once")

CONFIG_SECTION(JOURNAL, struct config, "journal",
	"One record for each request and for each attempt at a backend, no prompts and no answers, "
	"in STATE_DIR/journal; read it with `shunt journal`.")
CONFIG_KEY(JOURNAL, enabled, FLAG, journal.enabled, "yes", 0, 0, "", "keep one")
CONFIG_KEY(JOURNAL, file_bytes, SIZE, journal.file_bytes, "64MiB", 4096, 1099511627776, "",
	"a file that is as long is followed by the next")
CONFIG_KEY(JOURNAL, files, COUNT, journal.files, "16", 0, 1000000, "files",
	"so many are kept; 0: all")
CONFIG_KEY(JOURNAL, sync_ms, TIME, journal.sync_ms, "1s", 0, 3600000, "",
	"time until a record survives a power cut (it survives any process at once); 0: left to "
	"the kernel")
CONFIG_KEY(JOURNAL, ring_bytes, SIZE, journal.ring_bytes, "1MiB", 65536, 1073741824, "",
	"memory of each gateway for records on their way")
CONFIG_KEY(JOURNAL, spill_bytes, SIZE, journal.spill_bytes, "64MiB", 0, 1099511627776, "",
	"records of each gateway that wait in RUN_DIR while the disk is full or slow")
CONFIG_KEY(JOURNAL, refuse_when_full, FLAG, journal.refuse_when_full, "no", 0, 0, "",
	"no room for records: refuse requests (503) instead of losing records, which is logged "
	"and counted")

CONFIG_ROW_SECTION(BACKEND, struct config_backend, "backends[]",
	"One upstream. Its worker process is the only one that reads its API key.")
CONFIG_KEY(BACKEND, name, NAME, name, REQUIRED, 0, 0, "", "unique; in headers, logs and metrics")
CONFIG_KEY(BACKEND, kind, KIND, kind, "openai", 0, 0, "", "which API it speaks")
CONFIG_KEY(BACKEND, url, URL, url, NOT_SAID, 0, 0, "",
	"where it is, for example http://10.0.0.5:8080; required unless the kind has a usual "
	"local port (ollama) or needs none (sim)")
CONFIG_KEY(BACKEND, key_file, PATH, key_file, NOT_SAID, 0, 0, "", "file with the API key")
CONFIG_KEY(BACKEND, proxy, URL, proxy, NOT_SAID, 0, 0, "",
	"HTTP proxy; the environment's proxy settings are not read")
CONFIG_KEY(BACKEND, ca_file, PATH, ca_file, NOT_SAID, 0, 0, "",
	"certificates to trust instead of the system's")
CONFIG_KEY(BACKEND, tls_verify, FLAG, tls_verify, "yes", 0, 0, "",
	"check the upstream's certificate")
CONFIG_KEY(BACKEND, discover, TRI, discover_said, NOT_SAID, 0, 0, "",
	"serve every model it lists, under its own name; unknown: yes where no entry of "
	"`models` uses this backend")
CONFIG_KEY(BACKEND, standby, FLAG, standby, "no", 0, 0, "", "use only when nothing else can answer")
CONFIG_KEY(BACKEND, max_in_flight, COUNT, max_in_flight, "64", 1, 10000, "requests",
	"running at once; more go elsewhere, or wait (`queue`) where all are full")
CONFIG_KEY(BACKEND, connect_ms, TIME, connect_ms, "5s", 10, 600000, "", "to connect, TLS included")
CONFIG_KEY(BACKEND, first_byte_ms, TIME, first_byte_ms, "5m", 10, 3600000, "",
	"to the answer's first byte; a server that loads models on demand needs long, and for "
	"an answer that is not streamed this is its whole generation")
CONFIG_KEY(BACKEND, stall_ms, TIME, stall_ms, "60s", 10, 3600000, "",
	"between two pieces of an answer")
CONFIG_KEY(BACKEND, probe_ms, TIME, probe_ms, "10s", 100, 3600000, "", "between health probes")
CONFIG_KEY(BACKEND, prefill, PREFILL, prefill, "auto", 0, 0, "",
	"kind openai only: how it is made to go on with an answer that another backend began "
	"(mid_stream: continue)")
CONFIG_KEY(BACKEND, encoder, NAME, encoder, NOT_SAID, 0, 0, "",
	"kind encoder only: which entry of `encoders` makes the embeddings; it is also the "
	"model's name")
CONFIG_MAP(BACKEND, sim, SIM, "settings of a simulated model, kind sim only")

CONFIG_SECTION(SIM, struct config_backend, "backends[].sim",
	"A simulated model: the same prompt and seed give the same text.")
CONFIG_KEY(SIM, seed, SEED, sim.seed, "1", 0, 9007199254740992, "", "of the text")
CONFIG_KEY(SIM, ttft_ms, TIME, sim.ttft_ms, "50ms", 0, 3600000, "", "time to first token")
CONFIG_KEY(SIM, tokens_per_s, COUNT, sim.tokens_per_s, "50", 0, 1000000, "",
	"speed; 0: as fast as possible")
CONFIG_KEY(SIM, tokens, COUNT, sim.tokens, "64", 1, 1000000, "", "length of an answer")
CONFIG_KEY(SIM, confidence, REAL, sim.confidence, NOT_SAID, 0, 1, "",
	"how probable each token of its answers is, where that is asked for; 0: it does not tell; "
	"default: another one for each prompt, between 0 and 1")
CONFIG_LIST(SIM, models, MODELS, sim.models, NONE, NOT_SAID, 64,
	"what it serves; default: one model with the backend's name")

CONFIG_ROW_SECTION(ENCODER, struct config_encoder, "encoders[]",
	"A model of the BERT family in a folder of Hugging Face's form, or a BERT in a GGUF file. Its "
	"worker processes share one copy of the weights.")
CONFIG_KEY(ENCODER, name, NAME, name, REQUIRED, 0, 0, "",
	"unique among encoders; at most 56 bytes; what scorers and backends of kind encoder refer to")
CONFIG_KEY(ENCODER, folder, PATH, folder, REQUIRED, 0, 0, "",
	"with config.json, tokenizer.json and the SafeTensors file or files; or a file NAME.gguf, as "
	"llama.cpp's converter makes it of a BERT in F32, F16, BF16 or Q8_0: embeddings, no classes")
CONFIG_KEY(ENCODER, dtype, DTYPE, dtype, "auto", 0, 0, "", "what the weights are repacked to")
CONFIG_KEY(ENCODER, isa, ISA, isa, "auto", 0, 0, "", "instruction set of the kernels")
CONFIG_KEY(ENCODER, processes, COUNT, processes, "1", 1, 16, "",
	"worker processes; each runs one pass at a time")
CONFIG_KEY(ENCODER, threads, COUNT, threads, "1", 1, 64, "",
	"threads of a pass; more than 1 only where cores are free")
CONFIG_KEY(ENCODER, batch, COUNT, batch, "16", 1, 256, "texts",
	"most waiting texts that one pass takes")
CONFIG_KEY(ENCODER, batch_tokens, COUNT, batch_tokens, "2048", 16, 65536, "tokens",
	"most tokens of one pass; a single text may always have what the model takes")
CONFIG_KEY(ENCODER, queue, COUNT, queue, "256", 1, 65536, "requests",
	"most that wait in one process; more are refused at once")
CONFIG_KEY(ENCODER, preload, FLAG, preload, "yes", 0, 0, "",
	"load the weights at the start instead of with the first request")
CONFIG_KEY(ENCODER, idle_ms, TIME, idle_ms, "0", 0, 86400000, "",
	"give the weights' memory back when unused for this long, load again on demand; 0: never")
CONFIG_KEY(ENCODER, load_ms, TIME, load_ms, "5m", 1000, 3600000, "",
	"a load that takes longer is given up")

CONFIG_ROW_SECTION(MODEL, struct config_model, "models[]",
	"A name that clients may ask for, served by one or more deployments.")
CONFIG_KEY(MODEL, name, MODEL, name, REQUIRED, 0, 0, "", "unique among models and routes")
CONFIG_LIST(MODEL, deployments, ROWS, deployments, DEPLOYMENT, REQUIRED, 32, "who serves it")
CONFIG_KEY(MODEL, quality, REAL, quality, NOT_SAID, 0, 1, "",
	"how good its answers are, 0..1: what the score starts from")
CONFIG_KEY(MODEL, input_usd, REAL, input_usd, NOT_SAID, 0, 100000, "USD per million tokens",
	"price of the prompt")
CONFIG_KEY(MODEL, output_usd, REAL, output_usd, NOT_SAID, 0, 100000, "USD per million tokens",
	"price of the answer")
CONFIG_KEY(MODEL, context_tokens, COUNT, context_tokens, NOT_SAID, 1, 100000000, "tokens",
	"context length; default: what the backend says")
CONFIG_KEY(MODEL, tools, TRI, tools, NOT_SAID, 0, 0, "", "can call tools")
CONFIG_KEY(MODEL, vision, TRI, vision, NOT_SAID, 0, 0, "", "can see images")
CONFIG_KEY(MODEL, json, TRI, json, NOT_SAID, 0, 0, "", "can be held to a JSON schema")
CONFIG_KEY(MODEL, scorer_name, TEXT, scorer_name, NOT_SAID, 0, 0, "",
	"what trained scorers call it, where that differs from its name and upstream name")

CONFIG_ROW_SECTION(DEPLOYMENT, struct config_deployment, "models[].deployments[]",
	"One backend that serves the model.")
CONFIG_KEY(DEPLOYMENT, backend, NAME, backend, REQUIRED, 0, 0, "", "name of a backend")
CONFIG_KEY(DEPLOYMENT, model, TEXT, model, NOT_SAID, 0, 0, "",
	"what the backend calls it; default: the model's name")
CONFIG_KEY(DEPLOYMENT, weight, COUNT, weight, "1", 1, 1000, "",
	"share of requests, for strategy weighted")

CONFIG_ROW_SECTION(ROUTE, struct config_route, "routes[]", "A name behind which shunt chooses.")
CONFIG_KEY(ROUTE, name, NAME, name, REQUIRED, 0, 0, "",
	"unique among routes and models; not router-...")
CONFIG_LIST(ROUTE, models, MODELS, models, NONE, "*", 256,
	"who may be chosen: models, BACKEND/MODEL for what a backend lists, or \"*\" for all; "
	"the order breaks ties")
CONFIG_KEY(ROUTE, default_model, MODEL, default_model, NOT_SAID, 0, 0, "",
	"taken where nothing else decides; default: the best single one")
CONFIG_KEY(ROUTE, strategy, STRATEGY, strategy, "balanced", 0, 0, "",
	"what counts most in the score")
CONFIG_KEY(ROUTE, dial, REAL, dial, NOT_SAID, 0, 1, "",
	"0 cheapest .. 1 best, instead of the strategy's own weights")
CONFIG_KEY(ROUTE, scorer, SCORER, scorer, "heuristic", 0, 0, "",
	"what judges a prompt. A trained one without FILE is the one that comes with shunt; encoder "
	"without NAME is the first of `encoders`")
CONFIG_KEY(ROUTE, encoder, NAME, encoder, NOT_SAID, 0, 0, "",
	"for a scorer file that was trained with `--encoder`: which entry of `encoders` makes the "
	"embedding of a prompt; its files must be those of the model that the scorer was trained "
	"with, dtype and isa may differ. Default: the first")
CONFIG_KEY(ROUTE, threshold, REAL, threshold, NOT_SAID, 0, 1, "",
	"how much a prompt must want a strong model to get one. Left out, heuristic takes 0.5 as "
	"the middle of its scale, encoder decides at 0.5, and trained scorers weigh the quality "
	"that they expect of each model by the strategy instead. For cascade, required: the "
	"confidence from which on the weak model's answer is given")
CONFIG_KEY(ROUTE, text, TEXT_POLICY, text, "turns", 0, 0, "",
	"what of a conversation the scorer sees; of what is too long, the middle of its turns is "
	"left out first")
CONFIG_KEY(ROUTE, deadline_ms, TIME, deadline_ms, "200ms", 1, 60000, "",
	"where a classifier is asked (scorer encoder, or a file that needs an embedding): without an "
	"answer by then, default_model is taken")
CONFIG_KEY(ROUTE, cache_ms, TIME, cache_ms, "60s", 0, 3600000, "",
	"what a scorer file or an encoder said of a text holds so long; load, health and prices "
	"are looked at for each request; 0: ask each time")
CONFIG_KEY(ROUTE, session_ms, TIME, session_ms, "10m", 0, 86400000, "",
	"a conversation stays with its model while it pauses no longer; 0: each turn is decided "
	"for itself")
CONFIG_KEY(ROUTE, session_falls, COUNT, session_falls, "3", 1, 100, "turns",
	"in a row that must want a weaker model before a conversation goes to it; to a stronger "
	"one it goes at once")
CONFIG_MAP(ROUTE, experiment, EXPERIMENT, "a share of users for whom another route decides")
CONFIG_KEY(ROUTE, shadow, NAME, shadow, NOT_SAID, 0, 0, "",
	"a route that decides every request, too; only counted and logged")
CONFIG_KEY(ROUTE, attempts, COUNT, attempts, "4", 1, 64, "",
	"most candidates tried for one request")
CONFIG_KEY(ROUTE, retries, COUNT, retries, "0", 0, 16, "",
	"when no other candidate is left: how often to pause, then to try again those whose "
	"failure passes quickly and that have not asked for longer; their tries count as attempts")
CONFIG_LIST(ROUTE, fallbacks, MODELS, fallbacks, NONE, NOT_SAID, 32,
	"models tried after the route's own candidates, in this order")
CONFIG_KEY(ROUTE, hedge_ms, TIME, hedge_ms, "0", 0, 3600000, "",
	"no first byte by then: the next candidate is started, too, and the first of the two to "
	"answer wins; 0: never")
CONFIG_KEY(ROUTE, mid_stream, MID_STREAM, mid_stream, "error", 0, 0, "",
	"what becomes of a stream that breaks after its first byte")
CONFIG_KEY(ROUTE, hold, COUNT, hold, "0", 0, 10000, "tokens",
	"of a stream kept back before the client gets the first: a stream that breaks among them "
	"is replaced unseen, and scorer cascade decides by them (32 for that, where this is 0); 128 KiB "
	"at most")
CONFIG_KEY(ROUTE, first_byte_ms, TIME, first_byte_ms, "0", 0, 3600000, "",
	"per candidate; 0: the backend's")
CONFIG_KEY(ROUTE, request_ms, TIME, request_ms, "0", 0, 86400000, "",
	"whole request; 0: limits.request_ms")
CONFIG_KEY(ROUTE, priority, PRIORITY, priority, "user", 0, 0, "",
	"whose turn it is where requests wait; the header x-shunt-priority lowers it, and raises it no "
	"higher than what the user's key says")
CONFIG_KEY(ROUTE, queue_notice_ms, TIME, queue_notice_ms, "0", 0, 3600000, "",
	"a stream that waits longer for a place gets its status line and a comment with its position, "
	"and so on each time; after that an error can only be an event of the stream. 0: never")
CONFIG_KEY(ROUTE, max_usd, REAL, max_usd, NOT_SAID, 0, 100000, "USD per million tokens",
	"dearer models are left out (price of the answer)")

CONFIG_SECTION(EXPERIMENT, struct config_route, "routes[].experiment",
	"An A/B test: the same user or session always falls on the same side.")
CONFIG_KEY(EXPERIMENT, route, NAME, experiment.route, NOT_SAID, 0, 0, "",
	"whose models, scorer, strategy and threshold count for the share")
CONFIG_KEY(EXPERIMENT, share, REAL, experiment.share, "0", 0, 1, "", "of users or sessions")

CONFIG_ROW_SECTION(RULE, struct config_rule, "rules[]",
	"Fires on whole words only, whatever their case. The highest priority that fires "
	"decides; ties: the first in the file.")
CONFIG_KEY(RULE, name, NAME, name, REQUIRED, 0, 0, "",
	"the class: action, memory, chat, vision, code, ...")
CONFIG_KEY(RULE, priority, SIGNED, priority, "0", -1000, 1000, "", "higher wins")
CONFIG_LIST(RULE, words, TEXTS, words, NONE, NOT_SAID, 1024,
	"words and phrases; `*` at the end of a word stands for its continuations (plan*: "
	"plans, planned)")
CONFIG_LIST(RULE, except, TEXTS, except, NONE, NOT_SAID, 1024,
	"phrases in which a hit does not count")
CONFIG_KEY(RULE, on_image, FLAG, on_image, "no", 0, 0, "", "fires on requests with an image")
CONFIG_KEY(RULE, on_tools, FLAG, on_tools, "no", 0, 0, "", "fires on requests with tools")
CONFIG_LIST(RULE, routes, NAMES, routes, NONE, NOT_SAID, 64,
	"only in these routes; default: in all")
CONFIG_KEY(RULE, model, MODEL, model, REQUIRED, 0, 0, "",
	"where it sends to: a model, or a route whose models are meant")

CONFIG_ROW_SECTION(FAULT, struct config_fault_row, "faults[]",
	"One fault on purpose, as `shunt fault add` takes it. In force from the daemon's start or "
	"the reload that brings it.")
CONFIG_KEY(FAULT, kind, TEXT, kind, REQUIRED, 0, 0, "",
	"what goes wrong; `shunt fault kinds` lists them and what each of them takes")
#define FAULT_PARAM(symbol, name, use, type, field, min, max, help)                                \
	CONFIG_KEY(FAULT, name, TEXT, p_##name, NOT_SAID, 0, 0, "", help)
#include "lib/fault/param_list.h"
#undef FAULT_PARAM

#undef CONFIG_SECTION
#undef CONFIG_ROW_SECTION
#undef CONFIG_KEY
#undef CONFIG_LIST
#undef CONFIG_MAP
