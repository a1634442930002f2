/* Files as the engine uses them: one that is read for an upload, and a part, which becomes the
 * file at its target when it is complete. Functions return 0, or an errno, or FILE_NOT_REGULAR. */
#ifndef FTCORE_FILE_H
#define FTCORE_FILE_H

#include <stddef.h>
#include <stdint.h>

/* A pipe, device or socket where a file should be: it has no size, and reading it may block. */
enum { FILE_NOT_REGULAR = 1 << 20 };

/* What a file was when somebody looked; another file or another content is another mark. */
typedef struct {
  uint64_t device, number;
  int64_t size, modified_ns;
} file_mark;

/* Opens a regular file for reading and says what it is; never waits for a writer. */
int file_open_source(const char *path, int *fd, file_mark *mark);
/* 0 while the file is what it was and still has a name; else ESTALE, or what the look met. */
int file_unchanged(int fd, const file_mark *mark);
/* `length` bytes at `offset`; *got is less at the end of the file only. */
int file_read(int fd, char *into, size_t length, int64_t offset, size_t *got);

/* A new file at `path`, locked, with the permissions of what is at `target` or, where there is
 * nothing, of any new file of the user; target NULL: readable by the user only. Where `target` is
 * a device of characters, that is opened itself and *direct is 1. */
int file_open_part(const char *path, const char *target, int *fd, int *direct);
/* The file at `path`, made if need be, locked; EBUSY while somebody else holds it. */
int file_open_kept(const char *path, const char *target, int *fd, int64_t *length);
/* The rest of the file goes, and writing goes on at `length`. */
int file_cut(int fd, int64_t length);
int file_write(int fd, const char *from, size_t length);
/* Makes the part the file at `target`; with `sync` when it is safe on the disk. The descriptor
 * stays open. */
int file_publish(int fd, const char *path, const char *target, int sync);

#endif
