// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mask [WORD,WORD...] COMMAND [ARG...]: runs the command as on a kernel or filesystem that lacks
 * something; the words stand in tests/mask/mask.h. With "-" in place of them they come from
 * PLY_TEST_MASK, which may be empty. Exit status 125 where it cannot be done.
 */
#include "../mask/mask.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
	const char *words;

	if (argc < 3) {
		fprintf(stderr, "usage: mask WORD[,WORD...]|- COMMAND [ARG...]\n");
		return 125;
	}
	words = strcmp(argv[1], "-") ? argv[1] : getenv("PLY_TEST_MASK");
	if (words && *words && mask_install(words))
		return 125;
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
