# SPDX-License-Identifier: GPL-2.0-or-later
#
# PLY_CHECK_CFLAGS(VARIABLE, FLAGS): append each of FLAGS that the compiler takes without a word to VARIABLE.
# PLY_CHECK_LDFLAGS(VARIABLE, FLAGS): the same, by linking.
#
# -Werror in the probe: clang only warns of flags that it does not know. The user's CFLAGS take part, since some flags
# depend on others (_FORTIFY_SOURCE on -O).

AC_DEFUN([PLY_CHECK_CFLAGS], [
	for ply_flag in $2; do
		AS_VAR_PUSHDEF([ply_cache], [ply_cv_cflag_$ply_flag])
		AC_CACHE_CHECK([whether $CC takes $ply_flag], [ply_cache], [
			ply_save_CFLAGS=$CFLAGS
			CFLAGS="$CFLAGS -Werror $ply_flag"
			AC_COMPILE_IFELSE([AC_LANG_SOURCE([[#include <string.h>
				int main(void) { return 0; }]])],
				[AS_VAR_SET([ply_cache], [yes])], [AS_VAR_SET([ply_cache], [no])])
			CFLAGS=$ply_save_CFLAGS
		])
		AS_VAR_IF([ply_cache], [yes], [AS_VAR_APPEND([$1], [" $ply_flag"])])
		AS_VAR_POPDEF([ply_cache])
	done
])

AC_DEFUN([PLY_CHECK_LDFLAGS], [
	for ply_flag in $2; do
		AS_VAR_PUSHDEF([ply_cache], [ply_cv_ldflag_$ply_flag])
		AC_CACHE_CHECK([whether $CC links with $ply_flag], [ply_cache], [
			ply_save_LDFLAGS=$LDFLAGS
			LDFLAGS="$LDFLAGS -Werror $ply_flag"
			AC_LINK_IFELSE([AC_LANG_SOURCE([[int main(void) { return 0; }]])],
				[AS_VAR_SET([ply_cache], [yes])], [AS_VAR_SET([ply_cache], [no])])
			LDFLAGS=$ply_save_LDFLAGS
		])
		AS_VAR_IF([ply_cache], [yes], [AS_VAR_APPEND([$1], [" $ply_flag"])])
		AS_VAR_POPDEF([ply_cache])
	done
])
