// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: lines of text as argv. "fuse-overlayfs" as the first one changes the rules, as in life. */
#include "options.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARGS 16

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_parsed(const struct ply_options *o)
{
	if (o->show_help || o->show_version)
		return;
	must(o->mountpoint && *o->mountpoint && o->fsname && o->subtype && o->static_paths);
	must(o->nlower > o->ndata && o->nlower <= PLY_MAX_LAYERS);
	for (size_t i = 0; i < o->nlower; i++)
		must(o->lower[i] && *o->lower[i]);
	must(!o->upper == !o->work);
	must(o->max_stack_depth >= -1 && o->max_stack_depth <= 2);
	must(!(o->suid && o->nosuid) && !(o->dev && o->nodev) && !(o->exec && o->noexec));
	for (uint32_t id = 1; id; id <<= 1) {
		uint32_t disk = ply_idmap_store(&o->uids, id);

		must(o->uids.squash || disk == PLY_ID_INVALID || ply_idmap_show(&o->uids, disk) == id);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *argv[ARGS + 1] = { NULL }, *warn = NULL, *line = text;
	char err[256] = "";
	struct ply_options o;
	int argc = 0;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	while (line && argc < ARGS) {
		char *end = strchr(line, '\n');

		if (end)
			*end++ = 0;
		argv[argc++] = line;
		line = end;
	}
	if (ply_options_parse(&o, argc, argv, err, sizeof(err), &warn) == 0) {
		must(!err[0]);
		check_parsed(&o);
		ply_options_free(&o);
	} else {
		must(err[0] && !o.lower && !warn);
	}
	free(warn);
	free(text);
	return 0;
}
