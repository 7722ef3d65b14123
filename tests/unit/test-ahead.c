// SPDX-License-Identifier: GPL-2.0-or-later
/* Files and directories that are read before they are opened: which, when, and when no more. */
// wrap: ply_sys_is_cold ply_sys_read_ahead ply_sys_blocks_read ply_sys_lseek
#include "unit.h"

#include "ahead.h"
#include "graph.h"
#include "stage.h"

bool __wrap_ply_sys_is_cold(int fd);
uint64_t __wrap_ply_sys_blocks_read(void);
off_t __wrap_ply_sys_lseek(int fd, off_t off, int whence);
off_t __real_ply_sys_lseek(int fd, off_t off, int whence);
void __wrap_ply_sys_read_ahead(int fd, off_t off, off_t len);

enum { FILES = 400, READER = 4711 };

static atomic_bool cold;
static atomic_uint asked;		/* twice for each directory */
static unsigned int looked, fetched;
static uint64_t inode[FILES];		/* of the first files that were fetched */

bool __wrap_ply_sys_is_cold(int fd)
{
	(void)fd;
	looked++;
	return cold;
}

void __wrap_ply_sys_read_ahead(int fd, off_t off, off_t len)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(off, 0);
	assert_true(len > 0);
	if (fetched < FILES)
		inode[fetched] = st.st_ino;
	fetched++;
}

uint64_t __wrap_ply_sys_blocks_read(void)
{
	unsigned int n = atomic_fetch_add(&asked, 1);

	return cold ? n : 0;
}

static atomic_uint held_up;		/* directories that were read while nobody could have renamed anything */

/* Right after one was read. */
off_t __wrap_ply_sys_lseek(int fd, off_t off, int whence)
{
	if (pthread_rwlock_trywrlock(&fs->tree))
		held_up++;
	else
		pthread_rwlock_unlock(&fs->tree);
	return __real_ply_sys_lseek(fd, off, whence);
}

static struct ply_node *file[FILES];
static uint64_t lower_ino[FILES];

/* The files' nodes have numbers in a row, as after a listing. */
static void begin(const char *make, bool is_cold)
{
	char path[32];
	struct stat st;

	stage_begin(make);
	stage_open("l1", true, "");
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "f%d", i);
		assert_int_equal(stage_walk(path, &file[i], &st), 0);
		ply_node_lookup_inc(fs->graph, file[i]);
		lower_ino[i] = st.st_ino;
	}
	cold = is_cold;
	looked = fetched = 0;
	asked = 0;
}

static void end(void)
{
	for (int i = 0; i < FILES; i++)
		ply_node_put(fs->graph, file[i]);
	stage_end();
}

static void open_from(int first, int to, int step, pid_t pid)
{
	for (int i = first; i != to; i += step)
		ply_ahead_opened(fs, file[i], pid);
}

#define MAKE "mkdir -p up work l1 && cd l1 && seq 0 399 | sed s/^/f/ | xargs touch"

static void test_in_a_row(void **state)
{
	(void)state;
	begin(MAKE, true);
	open_from(0, 4, 1, READER);
	assert_int_equal(looked, 0);
	open_from(4, FILES, 1, READER);
	/* Each but the first few, once, and in their order. */
	assert_true(fetched > FILES - 8);
	for (unsigned int i = 0; i < fetched; i++)
		assert_int_equal(inode[i], lower_ino[FILES - fetched + i]);
	assert_int_equal(looked, fetched);
	end();
}

static int index_of(uint64_t ino)
{
	for (int i = 0; i < FILES; i++)
		if (lower_ino[i] == ino)
			return i;
	fail_msg("no file has the inode number %llu", (unsigned long long)ino);
	return -1;
}

static void test_before_they_are_opened(void **state)
{
	(void)state;
	begin(MAKE, true);
	for (int i = 0; i < FILES; i++) {
		unsigned int before = fetched;

		ply_ahead_opened(fs, file[i], READER);
		assert_true(fetched - before <= 2);
		for (unsigned int k = before; k < fetched; k++)
			assert_in_range(index_of(inode[k]), i + 1, i + 16);
	}
	end();
}

static void test_in_no_order(void **state)
{
	(void)state;
	begin(MAKE, true);
	open_from(FILES - 1, -1, -1, READER);
	open_from(0, FILES, 20, READER);
	/* Not known who it is. */
	open_from(0, FILES, 1, 0);
	/* Two that take turns and share what is remembered of one. */
	for (int i = 0; i < FILES; i++)
		ply_ahead_opened(fs, file[i], i % 2 ? READER : READER + 32);
	assert_int_equal(looked, 0);
	end();
}

static void test_warm(void **state)
{
	(void)state;
	begin(MAKE, false);
	open_from(0, FILES, 1, READER);
	assert_int_equal(fetched, 0);
	assert_true(looked > 0 && looked < FILES / 10);
	/* What is cold from some point on is fetched again some time. */
	cold = true;
	for (int i = 0; i < 10; i++)
		open_from(0, FILES, 1, READER + 1);
	assert_true(fetched > 0);
	end();
}

/* What is in upper may be written; directories and symlinks are no files. */
static void test_lower_files_only(void **state)
{
	(void)state;
	begin("mkdir -p l1 work up && cd up && seq 0 399 | sed s/^/f/ | xargs touch", true);
	open_from(0, FILES, 1, READER);
	assert_int_equal(looked, 0);
	end();
	begin("mkdir -p up work l1 && cd l1 && seq 0 399 | sed s/^/f/ | xargs mkdir", true);
	open_from(0, FILES, 1, READER);
	assert_int_equal(looked, 0);
	end();
}

#define MAKE_DIRS "mkdir -p up work l1 && cd l1 && seq 0 399 | sed s/^/f/ | xargs mkdir"

/* The thread has looked at so many directories. */
static void wait_for_dirs(unsigned int n)
{
	for (int i = 0; i < 20000 && asked < 2 * n; i++)
		usleep(1000);
	if (asked < 2 * n)
		fail_msg("%u of %u", asked / 2, n);
}

static unsigned int open_dirs(void)
{
	struct ply_graph_stats s;

	ply_graph_stats(fs->graph, &s);
	return (unsigned int)s.dirfds;
}

static void test_directories(void **state)
{
	(void)state;
	begin(MAKE_DIRS, true);
	fs->graph->max_fds = 1000;
	/* Who lists a few only wants no others. */
	for (int i = 0; i < 4; i++)
		ply_ahead_listed(fs, file[i], READER);
	assert_int_equal(open_dirs(), 0);
	for (int i = 4; i < FILES; i++) {
		/* All from the sixth to the sixteenth beside this one. */
		unsigned int beside = (unsigned int)ply_min(i - 4 + 16, FILES - 5);

		ply_ahead_listed(fs, file[i], READER);
		wait_for_dirs(beside);
	}
	/* Once each, and what was read stays open. */
	ply_ahead_end();
	assert_int_equal(asked, 2 * (FILES - 5));
	assert_int_equal(open_dirs(), FILES - 5);
	assert_int_equal(held_up, 0);
	end();
}

static void test_warm_directories(void **state)
{
	(void)state;
	begin(MAKE_DIRS, false);
	for (int i = 0; i < FILES; i++) {
		ply_ahead_listed(fs, file[i], READER + 2);
		usleep(100);
	}
	ply_ahead_end();
	assert_true(asked < 2 * FILES / 4);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_a_row),
		cmocka_unit_test(test_before_they_are_opened),
		cmocka_unit_test(test_in_no_order),
		cmocka_unit_test(test_warm),
		cmocka_unit_test(test_lower_files_only),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_warm_directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
