// SPDX-License-Identifier: GPL-2.0-or-later
#include "copyup_data.h"
#include "counters.h"

#include <errno.h>

#define DATA_CHUNK (8 << 20)		/* of one copy_file_range: bounds how long a syscall takes */
#define DATA_BUFFER (256 << 10)
#define DATA_BIG (16 << 20)		/* files from here on go past the page cache when they must be on disk anyway */
#define DATA_DIRECT (16 << 20)
#define DATA_ALIGN 4096			/* what every device takes; and a page */

/* How far the cheap ways go between these two files is learnt from their errors. */
struct data_copy {
	int in, out;
	off_t pos, end;
	bool durable;			/* it is to be on disk at the end */
	bool no_direct, no_range;
	char *buf;			/* made when reading and writing begins */
};

/* "This way is not possible between these files", as opposed to "it failed". */
static bool data_not_possible(int err)
{
	switch (err) {
	case -EXDEV:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -ENOTTY:
	case -ENOSYS:
	case -EPERM:
	case -ETXTBSY:
		return true;
	default:
		return false;
	}
}

/*
 * Straight from the pages of the source to the disk: what the processor does not copy twice needs no writing back
 * either. Bytes moved, -errno; 0: the others have to do it.
 */
static ssize_t data_direct(struct data_copy *d)
{
	off_t end = d->end & ~(off_t)(DATA_ALIGN - 1), ahead;
	size_t len = (size_t)ply_min(end - d->pos, (off_t)DATA_DIRECT);
	ssize_t n = 0;
	void *map;

	if (d->no_direct || d->pos >= end || d->pos % DATA_ALIGN)
		return 0;
	if (ply_sys_set_direct(d->out, true)) {
		d->no_direct = true;
		return 0;
	}
	if (!ply_sys_map(d->in, d->pos, len, &map)) {
		ahead = d->pos + (off_t)len;
		if (ahead < d->end)
			ply_sys_read_ahead(d->in, ahead, ply_min(d->end - ahead, (off_t)DATA_DIRECT));
		n = ply_sys_pwrite(d->out, map, len, d->pos);
		ply_sys_unmap(map, len);
	}
	(void)ply_sys_set_direct(d->out, false);
	/* -EFAULT: the source cannot be read. The others say why. */
	if (n == -EFAULT || (n < 0 && data_not_possible((int)n)))
		n = 0;
	if (!n)
		d->no_direct = true;
	return n;
}

/* Bytes moved, -errno; 0 with d->no_range set: this way leads no further. */
static ssize_t data_range(struct data_copy *d)
{
	off_t ioff = d->pos, ooff = d->pos;
	size_t len = (size_t)ply_min(d->end - d->pos, (off_t)DATA_CHUNK);
	ssize_t n = ply_sys_copy_range(d->in, &ioff, d->out, &ooff, len, 0);

	/* 0 before the end: some filesystems say so for "can't" (copy_file_range(2), BUGS). */
	if (n > 0 || (n < 0 && !data_not_possible((int)n)))
		return n;
	d->no_range = true;
	return 0;
}

/* Bytes moved, 0 when the source has no more, -errno. */
static ssize_t data_read_write(struct data_copy *d)
{
	size_t want = (size_t)ply_min(d->end - d->pos, (off_t)DATA_BUFFER);
	ssize_t n, done;

	if (!d->buf) {
		d->buf = malloc(DATA_BUFFER);
		if (!d->buf)
			return -ENOMEM;
	}
	n = ply_sys_pread(d->in, d->buf, want, d->pos);
	for (done = 0; done < n;) {
		ssize_t w = ply_sys_pwrite(d->out, d->buf + done, (size_t)(n - done), d->pos + done);

		if (w < 0)
			return w;
		if (!w)
			return -EIO;
		done += w;
	}
	return n;
}

/* Copies pos..end, which the source says is data. */
static int data_segment(struct data_copy *d)
{
	ssize_t n;

	while (d->pos < d->end) {
		bool direct;

		n = data_direct(d);
		direct = n;
		if (!direct && !d->no_range)
			n = data_range(d);
		if (!direct && d->no_range)
			n = data_read_write(d);
		if (n < 0)
			return (int)n;
		if (!n)
			break;		/* shorter than its stat said: the rest reads as zeros */
		/* While the rest is copied. */
		if (d->durable && !direct && n == DATA_CHUNK)
			ply_sys_write_out(d->out, d->pos, n);
		d->pos += n;
		ply_count(PLY_C_copyup_bytes, (uint64_t)n);
	}
	return 0;
}

/* The next data at or after d->pos, within size: sets pos and end. -ENXIO: only a hole is left. */
static int data_next(struct data_copy *d, off_t size)
{
	off_t from, to;

	if (d->pos >= size)
		return -ENXIO;
	from = ply_sys_lseek(d->in, d->pos, SEEK_DATA);
	if (from == -EINVAL || from == -EOPNOTSUPP) {
		d->end = size;	/* a filesystem that does not know: all is data */
		return 0;
	}
	if (from < 0)
		return (int)from;
	to = ply_sys_lseek(d->in, from, SEEK_HOLE);
	if (to < 0 && to != -ENXIO)
		return (int)to;
	if (from >= size)
		return -ENXIO;
	d->pos = from;
	d->end = to < 0 ? size : ply_min(to, size);
	return 0;
}

static int data_all(struct data_copy *d, off_t size)
{
	int r = 0;

	d->pos = 0;
	while (!r) {
		r = data_next(d, size);
		if (!r)
			r = data_segment(d);
		if (!r && d->pos < d->end)
			break;
	}
	return r == -ENXIO ? 0 : r;
}

int ply_copyup_data(int in, int out, off_t size, bool try_clone, bool durable)
{
	struct data_copy d = { .in = in, .out = out, .durable = durable, .no_direct = !durable || size < DATA_BIG };
	struct stat st;
	int r;

	if (try_clone && size) {
		r = ply_sys_clone_file(out, in);
		if (!r)
			ply_count(PLY_C_copyup_reflinks, 1);
		if (r && !data_not_possible(r))
			return r;
		try_clone = !r;
	} else {
		try_clone = false;
	}
	if (!try_clone) {
		r = data_all(&d, size);
		free(d.buf);
		if (r)
			return r;
	}
	/* A tail that is a hole; or a clone of more than was asked for. */
	r = ply_sys_stat(PLY_FD(out), &st);
	if (!r && st.st_size != size)
		r = ply_sys_ftruncate(out, size);
	return r ? r : try_clone;
}
