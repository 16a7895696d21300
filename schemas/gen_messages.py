#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gen_messages.py - C structs, encoder and verifying decoder out of shunt.fbs

Usage: gen_messages.py SCHEMA.fbs HEADER.h CODE.cc

Reads the subset of the FlatBuffers language that shunt.fbs uses and refuses the rest with the line's
number: a message that the C side could not hold must fail the build, not the daemon. `flatc --cpp`
reads the same file for the C++ headers that CODE.cc is written against.
"""

import re
import sys

SCALARS = {
    "bool": "bool", "byte": "int8_t", "ubyte": "uint8_t", "short": "int16_t",
    "ushort": "uint16_t", "int": "int32_t", "uint": "uint32_t", "long": "int64_t",
    "ulong": "uint64_t", "float": "float", "double": "double",
}
TOKEN = re.compile(r'(?P<space>[ \t\r]+)|(?P<newline>\n)|(?P<comment>//[^\n]*|/\*.*?\*/)'
                   r'|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)|(?P<text>"[^"\n]*")'
                   r'|(?P<mark>[{}:;,()=\[\]])', re.S)


class Fault(Exception):
    """What is wrong with the schema, and where."""

    def __init__(self, line, text):
        super().__init__(text)
        self.line = line


class Field:
    def __init__(self, name, kind, line, required):
        self.name, self.kind, self.line, self.required = name, kind, line, required
        self.comment = ""
        self.max = None


class Group:
    """A table or a struct."""

    def __init__(self, name, line, comment):
        self.name, self.line, self.comment = name, line, comment
        self.fields = []
        self.snake = snake(name)
        self.payload = "payload:" in comment


class Schema:
    def __init__(self):
        self.namespace = self.root = self.ident = None
        self.enums, self.structs, self.tables = {}, {}, {}
        self.union = None
        self.members = []


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Tokens:
    """The tokens of a text, comments kept aside by line."""

    def __init__(self, text):
        self.list, self.at = [], 0
        self.comments = {}
        line, pos = 1, 0
        while pos < len(text):
            m = TOKEN.match(text, pos)
            if not m:
                raise Fault(line, f"unexpected character {text[pos]!r}")
            if m.lastgroup == "comment":
                self.comments[line] = self.comments.get(line, "") + m.group()
            elif m.lastgroup in ("word", "number", "text", "mark"):
                self.list.append((m.lastgroup, m.group(), line))
            line += m.group().count("\n")
            pos = m.end()
        self.code_lines = {t[2] for t in self.list}
        self.last_line = line

    def line(self):
        return self.list[self.at][2] if self.at < len(self.list) else self.last_line

    def done(self):
        return self.at == len(self.list)

    def peek(self):
        return None if self.done() else self.list[self.at][1]

    def take(self, want=None, kind=None):
        if self.done():
            raise Fault(self.last_line, f"the file ends where {want or kind} is due")
        got_kind, got, line = self.list[self.at]
        if (want and got != want) or (kind and got_kind != kind):
            raise Fault(line, f"{want or kind} is due here, not {got!r}")
        self.at += 1
        return got

    def comment_above(self, line):
        """The comment lines directly above a line, without a gap."""
        above = []
        while line - 1 in self.comments and line - 1 not in self.code_lines:
            line -= 1
            above.insert(0, self.comments[line])
        return " ".join(above)


def parse_enum(t, schema):
    line, name = t.line(), t.take(kind="word")
    t.take(":")
    kind = t.take(kind="word")
    if kind != "ubyte":
        raise Fault(line, f"enum {name}: only ubyte enums are supported, not {kind}")
    t.take("{")
    values = []
    while t.peek() != "}":
        values.append(t.take(kind="word"))
        if t.peek() == "=":
            raise Fault(t.line(), f"enum {name}: values count from 0 and can't be set")
        if t.peek() != "}":
            t.take(",")
    t.take("}")
    if not values or len(set(values)) != len(values):
        raise Fault(line, f"enum {name} has no value, or one twice")
    schema.enums[name] = values


def parse_field(t, owner):
    line, name = t.line(), t.take(kind="word")
    t.take(":")
    if t.peek() == "[":
        raise Fault(line, f"{owner.name}.{name}: vectors are not supported")
    kind, required = t.take(kind="word"), False
    if t.peek() == "=":
        raise Fault(line, f"{owner.name}.{name}: defaults are not supported, 0 is the default")
    if t.peek() == "(":
        t.take("(")
        t.take("required")
        t.take(")")
        required = True
    end = t.line()
    t.take(";")
    if any(f.name == name for f in owner.fields):
        raise Fault(line, f"{owner.name}.{name} is declared twice")
    field = Field(name, kind, line, required)
    if any(f.line == line for f in owner.fields):
        owner.fields[-1].comment = ""  # two on a line: the comment is the last one's
    field.comment = t.comments.get(end, "")
    owner.fields.append(field)


def parse_group(t, schema, groups):
    line, name = t.line(), t.take(kind="word")
    if name in schema.structs or name in schema.tables or name in schema.enums:
        raise Fault(line, f"{name} is declared twice")
    group = Group(name, line, t.comment_above(line))
    t.take("{")
    while t.peek() != "}":
        parse_field(t, group)
    t.take("}")
    groups[name] = group


def parse_union(t, schema):
    line, name = t.line(), t.take(kind="word")
    if schema.union:
        raise Fault(line, "only one union is supported")
    schema.union = name
    t.take("{")
    while t.peek() != "}":
        schema.members.append((t.take(kind="word"), t.line()))
        if t.peek() != "}":
            t.take(",")
    t.take("}")


def parse(text):
    t, schema = Tokens(text), Schema()
    while not t.done():
        line, word = t.line(), t.take(kind="word")
        if word == "namespace":
            schema.namespace = t.take(kind="word")
            t.take(";")
        elif word == "enum":
            parse_enum(t, schema)
        elif word == "struct":
            parse_group(t, schema, schema.structs)
        elif word == "table":
            parse_group(t, schema, schema.tables)
        elif word == "union":
            parse_union(t, schema)
        elif word == "root_type":
            schema.root = t.take(kind="word")
            t.take(";")
        elif word == "file_identifier":
            schema.ident = t.take(kind="text").strip('"')
            t.take(";")
        else:
            raise Fault(line, f"unknown declaration {word!r}")
    return schema


def check_fields(schema, group, strings_allowed):
    for f in group.fields:
        where = f"{group.name}.{f.name}"
        if f.kind in SCALARS or f.kind in schema.enums:
            if f.required:
                raise Fault(f.line, f"{where}: a scalar can't be required")
            continue
        if f.kind != "string" or not strings_allowed:
            raise Fault(f.line, f"{where}: type {f.kind} is not supported here")
        limit = re.search(r"\bmax ([0-9]+)\b", f.comment)
        if not limit:
            raise Fault(f.line, f"{where}: a string needs a comment \"max N\" on its line")
        f.max = int(limit.group(1))
        if not 0 < f.max <= 4096:
            raise Fault(f.line, f"{where}: the limit must be 1 to 4096 bytes")


def check(schema):
    """The shape that msg.h promises: Message { head:Head; body:Body; } and nothing unused."""
    root = schema.tables.get("Message")
    if schema.namespace != "shunt" or schema.root != "Message" or root is None:
        raise Fault(1, "namespace shunt, a table Message and root_type Message are due")
    if not schema.ident or len(schema.ident) != 4:
        raise Fault(1, "a file_identifier of 4 characters is due")
    if [(f.name, f.kind, f.required) for f in root.fields] != [
            ("head", "Head", True), ("body", "Body", True)]:
        raise Fault(root.line, "Message must be { head:Head (required); body:Body (required); }")
    if list(schema.structs) != ["Head"] or schema.union != "Body":
        raise Fault(1, "one struct Head and one union Body are due")
    check_fields(schema, schema.structs["Head"], False)
    names = [name for name, _ in schema.members]
    for name, line in schema.members:
        if name == "Message" or name not in schema.tables or names.count(name) > 1:
            raise Fault(line, f"union Body: {name} is no message table, or is there twice")
    for table in schema.tables.values():
        if table is root:
            continue
        if table.name not in names:
            raise Fault(table.line, f"table {table.name} is missing in union Body")
        check_fields(schema, table, True)


def messages(schema):
    return [schema.tables[name] for name, _ in schema.members]


def c_type(schema, field):
    if field.kind == "string":
        return "struct msg_str"
    return "uint8_t" if field.kind in schema.enums else SCALARS[field.kind]


def const(group, field):
    return f"MSG_{group.snake}_{field.name}_MAX".upper()


def write_group(schema, group, name):
    out = [f"struct {name} {{"]
    out += [f"\t{c_type(schema, f)} {f.name};" +
            (f" /* enum msg_{snake(f.kind)} */" if f.kind in schema.enums else "")
            for f in group.fields] or ["\tuint8_t unused;"]
    return out + ["};", ""]


def len_max(group):
    """More than the largest encoding: head, vtables and padding are under 160 bytes."""
    return 160 + sum(12 + (f.max or 0) + 16 for f in group.fields)


def write_header(schema):
    msgs = messages(schema)
    out = ["/* Generated from shunt.fbs by gen_messages.py; included by schemas/msg.h only. */",
           "#pragma once", "", "#include <stdbool.h>", "#include <stddef.h>", "#include <stdint.h>",
           "", "/* A string in a message: len bytes, not NUL-terminated for the reader's purposes. */",
           "struct msg_str {", "\tconst char *p;", "\tsize_t len;", "};", ""]
    for name, values in schema.enums.items():
        rows = [f"\tMSG_{snake(name)}_{snake(v)},".upper() for v in values]
        out += [f"enum msg_{snake(name)} {{", *rows, "};", ""]
    out += ["/* X(enum value, union member, name, may carry a payload frame) */",
            "#define MSG_LIST(X) \\"]
    out += [f"\tX(MSG_{m.snake.upper()}, {m.snake}, \"{m.name}\", {str(m.payload).lower()})" +
            (" \\" if m is not msgs[-1] else "") for m in msgs]
    out += ["", "enum msg_type {", "\tMSG_NONE,"]
    out += [f"\tMSG_{m.snake.upper()}," for m in msgs] + ["\tMSG_TYPES", "};", ""]
    out += ["/* The longest strings, in bytes. */", "enum {"]
    out += [f"\t{const(m, f)} = {f.max}," for m in msgs for f in m.fields if f.max]
    out += ["\tMSG_LEN_MAX = %d, /* no encoded message is longer */" % max(map(len_max, msgs)),
            "\tMSG_WORK_SIZE = 2 * MSG_LEN_MAX + 512 /* room the encoder works in */", "};", ""]
    out += write_group(schema, schema.structs["Head"], "msg_head")
    for m in msgs:
        out += write_group(schema, m, f"msg_{m.snake}")
    out += ["struct msg {", "\tenum msg_type type;", "\tstruct msg_head head;", "\tunion {"]
    out += [f"\t\tstruct msg_{m.snake} {m.snake};" for m in msgs]
    out += ["\t};", "};", ""]
    return "\n".join(out)


CODE_HEAD = """// Generated from shunt.fbs by gen_messages.py: the only code that touches FlatBuffers.
// Declared for C in schemas/msg.c.
#define FLATBUFFERS_TRACK_VERIFIER_BUFFER_SIZE
#include "shunt_generated.h"
#include "shunt_msg.h"

namespace {

// Lends the caller's memory to the builder, once: it is large enough for every message.
class Lender final : public flatbuffers::Allocator {
 public:
  explicit Lender(uint8_t *mem) : mem_(mem) {}
  uint8_t *allocate(size_t size) override {
    if (mem_ == nullptr || size > MSG_WORK_SIZE) __builtin_trap();
    uint8_t *mem = mem_;
    mem_ = nullptr;
    return mem;
  }
  void deallocate(uint8_t *, size_t) override {}

 private:
  uint8_t *mem_;
};

[[maybe_unused]] bool put(flatbuffers::FlatBufferBuilder &b,
                          flatbuffers::Offset<flatbuffers::String> &out, const msg_str &s,
                          size_t max) {
  if (s.len > max) return false;
  if (s.len > 0) out = b.CreateString(s.p, s.len);
  return true;
}

[[maybe_unused]] bool get(msg_str &out, const flatbuffers::String *s, size_t max) {
  out.p = s == nullptr ? "" : s->c_str();
  out.len = s == nullptr ? 0 : s->size();
  return out.len <= max;
}
"""

CODE_TAIL = """}  // namespace

extern "C" {
const unsigned char *shunt_msg_encode(size_t *len, void *work, const struct msg *m);
const char *shunt_msg_decode(struct msg *out, const void *data, size_t len);
}

// NULL where m breaks a limit of the schema; else *len bytes inside work[0..MSG_WORK_SIZE).
const unsigned char *shunt_msg_encode(size_t *len, void *work, const struct msg *m) {
  Lender lender(static_cast<uint8_t *>(work));
  flatbuffers::FlatBufferBuilder b(MSG_WORK_SIZE - 64, &lender);
  flatbuffers::Offset<void> body;
  if (!put_body(b, body, *m)) return nullptr;
  const shunt::Head head(%(head_args)s);
  b.Finish(shunt::CreateMessage(b, &head, static_cast<shunt::Body>(m->type), body),
           shunt::MessageIdentifier());
  *len = b.GetSize();
  return b.GetBufferPointer();
}

// NULL: *out holds the message; else what is wrong. data is aligned to 8 bytes.
const char *shunt_msg_decode(struct msg *out, const void *data, size_t len) {
  if (len > MSG_LEN_MAX) return "too long";
  flatbuffers::Verifier verifier(static_cast<const uint8_t *>(data), len);
  if (!shunt::VerifyMessageBuffer(verifier)) return "not a message";
  if (verifier.GetComputedSize() != len) return "has bytes that belong to no field";
  const shunt::Message *m = shunt::GetMessage(data);
  const shunt::Head *h = m->head();
  const void *body = m->body();
  if (h == nullptr || body == nullptr) return "has no head or no body";
  if (m->body_type() > shunt::Body_MAX) return "is of no known type";
%(head_checks)s  out->head = {%(head_get)s};
  out->type = static_cast<enum msg_type>(m->body_type());
  return get_body(*out, body);
}
"""


def write_put(schema, m):
    # A table without strings uses b only to create it, one without fields leaves m alone.
    out = [f"bool put_{m.snake}(flatbuffers::FlatBufferBuilder &b, "
           "flatbuffers::Offset<void> &out,",
           f"    [[maybe_unused]] const msg_{m.snake} &m) {{"]
    args = []
    for f in m.fields:
        if f.kind == "string":
            out += [f"  flatbuffers::Offset<flatbuffers::String> {f.name};",
                    f"  if (!put(b, {f.name}, m.{f.name}, {const(m, f)})) return false;"]
            args.append(f.name)
        elif f.kind in schema.enums:
            out += [f"  if (m.{f.name} > shunt::{f.kind}_MAX) return false;"]
            args.append(f"static_cast<shunt::{f.kind}>(m.{f.name})")
        else:
            args.append(f"m.{f.name}")
    call = ", ".join(["b", *args])
    return out + [f"  out = shunt::Create{m.name}({call}).Union();", "  return true;", "}", ""]


def write_get(schema, m):
    out = [f"const char *get_{m.snake}([[maybe_unused]] msg_{m.snake} &out,",
           f"    [[maybe_unused]] const shunt::{m.name} &t) {{"]
    for f in m.fields:
        if f.kind == "string":
            out.append(f"  if (!get(out.{f.name}, t.{f.name}(), {const(m, f)})) "
                       f"return \"{f.name} is too long\";")
        elif f.kind in schema.enums:
            out += [f"  if (t.{f.name}() > shunt::{f.kind}_MAX) return \"{f.name} is unknown\";",
                    f"  out.{f.name} = static_cast<uint8_t>(t.{f.name}());"]
        else:
            out.append(f"  out.{f.name} = t.{f.name}();")
    return out + ["  return nullptr;", "}", ""]


def write_code(schema):
    msgs, head = messages(schema), schema.structs["Head"]
    out = [CODE_HEAD]
    for m in msgs:
        out += write_put(schema, m) + write_get(schema, m)
    out += ["bool put_body(flatbuffers::FlatBufferBuilder &b, flatbuffers::Offset<void> &out,",
            "    const msg &m) {"]
    enums = [f for f in head.fields if f.kind in schema.enums]
    out += [f"  if (m.head.{f.name} > shunt::{f.kind}_MAX) return false;" for f in enums]
    out += ["  switch (static_cast<int>(m.type)) {"]
    out += [f"  case MSG_{m.snake.upper()}: return put_{m.snake}(b, out, m.{m.snake});" for m in msgs]
    out += ["  default: return false;", "  }", "}", "",
            "const char *get_body(msg &out, const void *body) {",
            "  switch (static_cast<int>(out.type)) {"]
    out += [f"  case shunt::{schema.union}_{m.name}: return get_{m.snake}(out.{m.snake}, "
            f"*static_cast<const shunt::{m.name} *>(body));" for m in msgs]
    out += ["  default: return \"is of no known type\";", "  }", "}", ""]
    out += [f"static_assert(int(MSG_{m.snake.upper()}) == int(shunt::{schema.union}_{m.name}), "
            f"\"{m.name}\");" for m in msgs]
    out += ["", CODE_TAIL % {
        "head_args": ", ".join(f"static_cast<shunt::{f.kind}>(m->head.{f.name})" if f in enums
                               else f"m->head.{f.name}" for f in head.fields),
        "head_checks": "".join(f"  if (h->{f.name}() > shunt::{f.kind}_MAX) "
                               f"return \"head.{f.name} is unknown\";\n" for f in enums),
        "head_get": ", ".join(f"h->{f.name}()" for f in head.fields),
    }]
    return "\n".join(out)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    path, header, code = sys.argv[1:]
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        schema = parse(text)
        check(schema)
    except Fault as fault:
        sys.exit(f"{path}:{fault.line}: {fault}")
    for name, content in ((header, write_header(schema)), (code, write_code(schema))):
        with open(name, "w", encoding="utf-8") as f:
            f.write(content)


if __name__ == "__main__":
    main()
