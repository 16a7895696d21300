# SPDX-License-Identifier: Apache-2.0
"""The checks themselves can fail: each is shown a small tree with the fault it is there for."""
import tempfile
from pathlib import Path

import check_layers
import check_sizes
import check_symbols
import check_tables
import check_text
import tree

LONG = "int\nbase_long(void)\n{\n" + "\t;\n" * 130 + "}\n"
SCHEMA = "enum Role : ubyte { None, Gateway }\ntable Ping { a:int; }\nunion Body { Ping }\n"

# check -> files of a tree in which it must find something
FAULTS = {
    check_layers.check_layers: {"lib/base/a.c": '#include "shm/b.h"\n', "shm/b.h": ""},
    check_layers.check_siblings: {"workers/x/x.c": '#include "workers/y/y.h"\n',
                                  "workers/y/y.h": ""},
    check_layers.check_private_headers: {"workers/x/a.h": "", "workers/x/b.h": ""},
    check_layers.check_ignorant_supervisor: {"supervisor/a.c": "#include <zmq.h>\n",
                                             "supervisor/meson.build": ""},
    check_layers.check_generated_readers_stay_in_schemas: {
        "workers/x/x.c": '#include "shunt_generated.h"\n'},
    check_sizes.check_function_size: {"lib/base/base.c": LONG},
    check_sizes.check_file_size: {"lib/base/base.c": "\n" * 701},
    check_sizes.check_file_heads: {"lib/base/a.c": "/* SPDX-License-Identifier: MIT */\n"},
    check_sizes.check_worker_heads: {"workers/x/x.c": "/* a */\n/*\n * x.c - does x\n */\n"},
    check_tables.check_roles: {check_tables.SCHEMA: SCHEMA,
                               "workers/worker_list.h": "WORKER(OTHER, other, 0, 0, 1)\n"},
    check_tables.check_every_message_has_one_handler: {check_tables.SCHEMA: SCHEMA},
    check_tables.check_one_handler_table_per_role: {"workers/x/x.c": "int a;\n"},
    check_tables.check_counters_are_used: {
        "shm/counter_list.h": 'COUNTER(NEVER, counter, never_total, "help")\n'},
    check_tables.check_kinds_have_files: {
        "config/kind_list.h": 'BACKEND_KIND(X, x, true, 0, "help")\n'},
    check_tables.check_shared_structs_hold_no_pointer: {
        "shm/board.h": "struct row {\n\tchar *text;\n};\n"},
    check_tables.check_no_switch_on_role: {"workers/x/x.c": "switch (w->role) {\n"},
    check_text.check_banned_calls: {"lib/base/a.c": "int f(void) { return atoi(s); }\n"},
    check_text.check_tests_use_public_headers: {"tests/unit/t.c": '#include "lib/base/a.c"\n'},
    check_text.check_open_ends: {"lib/base/a.c": "/* TO" + "DO later */\n"},
    check_text.check_no_ifdef_inside_functions: {
        "lib/base/a.c": "int\nf(void)\n{\n#ifdef X\n\treturn 1;\n#endif\n}\n"},
    check_text.check_no_registry_host_or_machine_path: {"a.md": "see /home" + "/someone/x\n"},
    check_text.check_no_stray_bytes: {"a.c": "int a; \n"},
    check_symbols.check_names: {"lib/base/a.c": "int\nzzz(void)\n{\n\treturn 0;\n}\n"},
    check_symbols.check_static_or_declared: {"lib/base/a.c": "int\na_b(void)\n{\n\treturn 0;\n}\n"},
}


def clear():
    for function in (tree.files, tree.text, tree.bare, tree.functions):
        getattr(function, "cache_clear", lambda: None)()


def finds(check, files):
    real_root, real_files = tree.ROOT, tree.files
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        clear()
        tree.ROOT = Path(folder)
        tree.files = lambda: [Path(n) for n in sorted(files)]
        try:
            return bool(list(check()))
        finally:
            tree.ROOT, tree.files = real_root, real_files
            clear()


def check_checks_can_fail():
    """every structural check fires on a tree with its fault"""
    for check, files in FAULTS.items():
        if not finds(check, files):
            yield f"{check.__name__} found nothing in {sorted(files)}"
