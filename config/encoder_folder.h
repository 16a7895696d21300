/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_folder.h - what a config alone can't tell: do the folders of its encoders hold a model?
 */
#pragma once

#include "config/config.h"

/* Add a fault for each that does not; how many. Looks at names, reads no file. At run time a missing
 * one is an error of its encoder only, since it may come later. */
size_t config_encoder_folders(struct config_faults *faults, const struct config *c);
