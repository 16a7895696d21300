/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_list.h - servers that discover_local looks for and that speak another kind's API
 *
 * Without include guard: define LOCAL_SERVER and include it. Kinds with a port of their own
 * (kind_list.h, local_port) are looked for as well. Each becomes a backend `<name>-local`.
 *
 * LOCAL_SERVER(name, kind, port)
 */
LOCAL_SERVER(llamacpp, OPENAI, 8080)
LOCAL_SERVER(vllm, OPENAI, 8000)
