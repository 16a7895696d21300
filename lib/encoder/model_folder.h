/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_folder.h - the files of a model: on disk, mapped; or in memory, for tests and fuzzing
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/json.h"

struct model_file {
	const char *data; /* view, until the folder is closed; NULL: no such file */
	size_t len;
};

struct model_folder;

/* A folder on disk, or a GGUF file (NAME.gguf), which is the whole model. ERR_CONFIG: it is none. */
MUST enum err_code model_folder_open(struct model_folder **out, const char *path, struct err *e);

/* name -> bytes; both must outlive the folder. */
struct model_memory_file {
	const char *name;
	const char *data;
	size_t len;
};
void model_folder_memory(struct model_folder **out, const struct model_memory_file *files,
	size_t count);
void model_folder_close(struct model_folder **f_p);

/* From now on names are those of files in the folder `below`; views stay valid. */
void model_folder_descend(struct model_folder *f, const char *below);

/* The name of the GGUF file that was opened (in memory: "model.gguf"); NULL: this is a folder. */
const char *model_folder_gguf(const struct model_folder *f);

/* "PATH/name", for messages; valid until the folder is closed. */
const char *model_folder_name(struct model_folder *f, const char *name);

/*
 * The file called name (may be in a folder below: "1_Pooling/config.json"). A missing file gives
 * data NULL and ERR_OK; one that cannot be read or is longer than max, ERR_CONFIG.
 */
MUST enum err_code model_folder_get(struct model_file *out, struct model_folder *f,
	const char *name, size_t max, struct err *e);

/*
 * A number for the names and bytes of all files that were got so far, wherever the folder lies; of a
 * GGUF file for its bytes, whatever its name; never 0. The same model gives it on every machine; a
 * program that reads other files of it gives another.
 */
uint64_t model_folder_identity(const struct model_folder *f);

/* json_check whose error is ERR_CONFIG and names the file. */
MUST enum err_code model_json_check(struct json *out, const char *what, struct model_file file,
	struct err *e);

/* The JSON object in the file called name; JSON_NONE where there is no such file. */
MUST enum err_code model_folder_json(struct json *out, struct model_folder *f, const char *name,
	struct err *e);
