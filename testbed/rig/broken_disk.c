/* Preloaded into the relay: what it does with its outbox and its witness fails, while a file says so.

   BROKEN_DISK names a folder. While a file `write`, `sync` or `read` lies in it, calls of that kind fail with EIO
   on witness.log and on every file whose name begins with outbox.db. While `readonly` lies there, such a file can be neither
   written nor opened for it: EROFS, as after a kernel made a file system read-only under open files, which
   mount(8) refuses to do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int told(const char *kind)
{
    const char *folder = getenv("BROKEN_DISK");
    char file[PATH_MAX];
    if (folder == NULL)
        return 0;
    snprintf(file, sizeof file, "%s/%s", folder, kind);
    return access(file, F_OK) == 0;
}

static int ours(const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    return strncmp(name, "outbox.db", 9) == 0 || strcmp(name, "witness.log") == 0;
}

/* The error that a call of this kind meets; 0: none. */
static int broken(int descriptor, const char *kind)
{
    char link[64], path[PATH_MAX];
    int error = told(kind) ? EIO : told("readonly") && strcmp(kind, "write") == 0 ? EROFS : 0;
    if (error == 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return ours(path) ? error : 0;
}

#define FAILS(result, name, kind, parameters, arguments, descriptor)                         \
    result name parameters                                                                   \
    {                                                                                        \
        static result(*real) parameters;                                                     \
        if (real == NULL)                                                                    \
            real = (result(*) parameters)dlsym(RTLD_NEXT, #name);                            \
        int before = errno;                                                                  \
        int error = broken(descriptor, kind);                                                \
        errno = error ? error : before;                                                      \
        if (error)                                                                           \
            return -1;                                                                      \
        return real arguments;                                                               \
    }

FAILS(ssize_t, write, "write", (int fd, const void *from, size_t size), (fd, from, size), fd)
FAILS(ssize_t, pwrite, "write", (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), fd)
FAILS(ssize_t, pwrite64, "write", (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at), fd)
FAILS(int, ftruncate, "write", (int fd, off_t size), (fd, size), fd)
FAILS(int, ftruncate64, "write", (int fd, off64_t size), (fd, size), fd)
FAILS(int, fsync, "sync", (int fd), (fd), fd)
FAILS(int, fdatasync, "sync", (int fd), (fd), fd)
FAILS(ssize_t, read, "read", (int fd, void *into, size_t size), (fd, into, size), fd)
FAILS(ssize_t, pread, "read", (int fd, void *into, size_t size, off_t at), (fd, into, size, at), fd)
FAILS(ssize_t, pread64, "read", (int fd, void *into, size_t size, off64_t at), (fd, into, size, at), fd)

#define OPENS(name)                                                                          \
    int name(const char *path, int flags, ...)                                               \
    {                                                                                        \
        static int (*real)(const char *, int, ...);                                          \
        if (real == NULL)                                                                    \
            real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                 \
        va_list more;                                                                        \
        va_start(more, flags);                                                               \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                            \
        va_end(more);                                                                        \
        if ((flags & (O_WRONLY | O_RDWR)) && ours(path) && told("readonly")) {               \
            errno = EROFS;                                                                   \
            return -1;                                                                       \
        }                                                                                    \
        return real(path, flags, mode);                                                      \
    }

OPENS(open)
OPENS(open64)
