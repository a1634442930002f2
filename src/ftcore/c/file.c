#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PERMISSIONS = 0777, LOCK_TRIES = 16 }; /* no set-user-id: it comes from the net */

static file_mark mark_of(const struct stat *s) {
#ifdef __APPLE__
  struct timespec modified = s->st_mtimespec;
#else
  struct timespec modified = s->st_mtim;
#endif
  file_mark mark = {(uint64_t)s->st_dev, (uint64_t)s->st_ino, (int64_t)s->st_size,
                    (int64_t)modified.tv_sec * 1000000000 + modified.tv_nsec};
  return mark;
}

static int kind_of(const struct stat *s) {
  return S_ISREG(s->st_mode) ? 0 : S_ISDIR(s->st_mode) ? EISDIR : FILE_NOT_REGULAR;
}

/* Closes and hands the failure on. */
static int shut(int *fd, int failed) {
  close(*fd);
  *fd = -1;
  return failed;
}

int file_open_source(const char *path, int *fd, file_mark *mark) {
  struct stat s;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for its writer */
  if (*fd < 0) return errno;
  if (fstat(*fd, &s) < 0) return shut(fd, errno);
  int failed = kind_of(&s);
  if (failed) return shut(fd, failed);
  *mark = mark_of(&s);
  return 0;
}

int file_unchanged(int fd, const file_mark *mark) {
  struct stat s;
  if (fstat(fd, &s) < 0) return errno;
  file_mark now = mark_of(&s);
  if (s.st_nlink == 0 || now.device != mark->device || now.number != mark->number ||
      now.size != mark->size || now.modified_ns != mark->modified_ns)
    return ESTALE;
  return 0;
}

int file_read(int fd, char *into, size_t length, int64_t offset, size_t *got) {
  *got = 0;
  while (*got < length) {
    ssize_t n = pread(fd, into + *got, length - *got, (off_t)(offset + (int64_t)*got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return 0;
    *got += (size_t)n;
  }
  return 0;
}

/* What is at the target, and whether it may be replaced. *mode is 0 where nothing is. */
static int look_at_target(const char *target, mode_t *mode) {
  struct stat s;
  *mode = 0;
  if (stat(target, &s) < 0) return errno == ENOENT ? 0 : errno;
  *mode = s.st_mode;
  if (S_ISCHR(s.st_mode)) return 0;
  int failed = kind_of(&s);
  if (failed) return failed;
  return access(target, W_OK) < 0 ? errno : 0;
}

/* Locked until it is closed, by the process's death too: whoever finds a part unlocked may remove
 * it. Where files can't be locked at all, nobody removes any. */
static int lock(int fd) {
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
  return errno == EWOULDBLOCK ? EBUSY : 0;
}

/* Whether a file was taken away between its making and its locking. */
static int is_nameless(int fd) {
  struct stat s;
  return fstat(fd, &s) == 0 && s.st_nlink == 0;
}

static int create_locked(const char *path, mode_t permissions, int *fd) {
  for (int tries = 0; tries < LOCK_TRIES; tries++) {
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, permissions);
    if (*fd < 0) return errno;
    int failed = lock(*fd);
    if (failed == 0 && !is_nameless(*fd)) return 0;
    unlink(path);
    close(*fd);
  }
  *fd = -1;
  return EBUSY;
}

int file_open_part(const char *path, const char *target, int *fd, int *direct) {
  mode_t mode = 0;
  *fd = -1;
  *direct = 0;
  int failed = target ? look_at_target(target, &mode) : 0;
  if (failed) return failed;
  if (S_ISCHR(mode)) {
    *direct = 1;
    *fd = open(target, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    return *fd < 0 ? errno : 0;
  }
  failed = create_locked(path, target ? 0666 : 0600, fd);
  if (failed) return failed;
  if (mode && fchmod(*fd, mode & PERMISSIONS) < 0) {
    failed = errno;
    unlink(path);
    return shut(fd, failed);
  }
  return 0;
}

/* Opens what is kept, locked. Between the one and the other it may have become the file, or have
 * been removed: then it is opened anew. */
static int open_locked(const char *path, int *fd, struct stat *s) {
  struct stat named;
  for (int tries = 0; tries < LOCK_TRIES; tries++) {
    *fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666);
    if (*fd < 0) return errno;
    int failed = lock(*fd);
    if (failed == 0 && fstat(*fd, s) < 0) failed = errno;
    if (failed == 0) failed = kind_of(s);
    if (failed) return shut(fd, failed);
    if (lstat(path, &named) == 0 && named.st_dev == s->st_dev && named.st_ino == s->st_ino)
      return 0;
    close(*fd);
  }
  *fd = -1;
  return EBUSY;
}

int file_open_kept(const char *path, const char *target, int *fd, int64_t *length) {
  mode_t mode = 0;
  struct stat s;
  *fd = -1;
  int failed = look_at_target(target, &mode);
  if (failed) return failed;
  if (S_ISCHR(mode)) return FILE_NOT_REGULAR;
  failed = open_locked(path, fd, &s);
  if (failed) return failed;
  if (mode && fchmod(*fd, mode & PERMISSIONS) < 0) failed = errno;
  if (failed) return shut(fd, failed);
  *length = (int64_t)s.st_size;
  return 0;
}

int file_cut(int fd, int64_t length) {
  if (ftruncate(fd, (off_t)length) < 0) return errno;
  return lseek(fd, (off_t)length, SEEK_SET) < 0 ? errno : 0;
}

int file_write(int fd, const char *from, size_t length) {
  while (length) {
    ssize_t n = write(fd, from, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return ENOSPC;
    from += n;
    length -= (size_t)n;
  }
  return 0;
}

/* The directory that holds the file, so that its new name survives a power failure too. */
static int sync_directory(const char *target) {
  char path[4096];
  const char *end = strrchr(target, '/');
  size_t length = end ? (size_t)(end - target) : 0;
  if (length >= sizeof path) return ENAMETOOLONG;
  memcpy(path, target, length);
  path[length] = 0;
  int fd = open(length ? path : end ? "/" : ".", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int failed = fsync(fd) < 0 && errno != EINVAL ? errno : 0; /* EINVAL: not for this file system */
  close(fd);
  return failed;
}

int file_publish(int fd, const char *path, const char *target, int sync) {
  if (sync && fsync(fd) < 0) return errno;
  if (rename(path, target) < 0) return errno;
  return sync ? sync_directory(target) : 0;
}
