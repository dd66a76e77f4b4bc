/*
 * Preloaded into a peer: disks that lose power, fail or are slow, and clocks that jump or run at another rate.
 *
 * FAULTS_CONTROL  a file of one page, mapped and read all the time (struct control): what shall go wrong now.
 * FAULTS_JOURNAL  begins the name of a file, one for each process: every change below FAULTS_ROOT, with what was there before, and every sync.
 *                 When the process was killed, the reader of the journal takes back what was never synced.
 *
 * The disk is caught at the C library's functions, which is where Rust's standard library does its input and output. The
 * clock is caught below that, in the kernel's own page of functions (vDSO), so that callers that go around the C library see
 * the same time. sync_file_range promises nothing, and is therefore not a sync here either.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* All fields are 8 bytes, in the order in which control.rs writes them. */
struct control {
    volatile int64_t sequence;     /* odd while the clock's fields are written */
    volatile int64_t wall_offset;  /* added to the wall clock, ns */
    volatile int64_t skew;         /* added to all clocks at `anchor`, ns */
    volatile int64_t anchor;       /* a time of the true monotonic clock, ns; a little ahead when it is written */
    volatile int64_t before_ppm;   /* clocks run so many millionths faster until then */
    volatile int64_t rate_ppm;     /* and so many from then on: no clock ever goes back */
    volatile int64_t sync_delay;   /* every sync takes so much longer, us */
    volatile int64_t sync_errno;   /* every sync fails with this, where not 0 */
    volatile int64_t write_errno;  /* every write fails with this, where not 0 */
    volatile int64_t clock_caught; /* written by us: the kernel's page was changed */
};

static struct control none;
static struct control *control = &none;
static int journal = -1;
static char root[PATH_MAX];
static char kept[PATH_MAX];
static size_t root_length;
static int64_t sequence;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define NEXT(name) ((__typeof__(&name))next(#name))
static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

/* ---- clocks ---------------------------------------------------------------------------------------------------- */

static int64_t true_ns(clockid_t clock) {
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How far clocks are from the truth at a time of the true monotonic clock. */
static int64_t skew_at(int64_t monotonic) {
    int64_t begun, skew, anchor, before, rate;
    do {
        begun = control->sequence;
        __sync_synchronize();
        skew = control->skew, anchor = control->anchor;
        before = control->before_ppm, rate = control->rate_ppm;
        __sync_synchronize();
    } while (begun % 2 || begun != control->sequence);
    if (!before && !rate) return skew;
    int64_t since = monotonic - anchor;
    return skew + (int64_t)((__int128)since * (since < 0 ? before : rate) / 1000000);
}

static int wrong_clock_gettime(clockid_t clock, struct timespec *out) {
    struct timespec now;
    long done;
    __asm__ volatile("syscall"
                     : "=a"(done)
                     : "a"((long)SYS_clock_gettime), "D"((long)clock), "S"(&now)
                     : "rcx", "r11", "memory");
    if (done < 0) return (int)done;
    if (clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID || clock < 0) {
        *out = now;
        return 0;
    }
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)
        ns += skew_at(true_ns(CLOCK_MONOTONIC)) + control->wall_offset;
    else
        ns += skew_at(ns); /* of this very reading, so that what was read before is never later */
    if (out) out->tv_sec = ns / 1000000000, out->tv_nsec = ns % 1000000000;
    return 0;
}

static int wrong_gettimeofday(struct timeval *out, void *zone) {
    struct timespec now = {0, 0};
    (void)zone;
    wrong_clock_gettime(CLOCK_REALTIME, &now);
    if (out) out->tv_sec = now.tv_sec, out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

static time_t wrong_time(time_t *out) {
    struct timespec now = {0, 0};
    wrong_clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

#ifdef __x86_64__
static void jump(unsigned char *at, void *to) {
    unsigned char code[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* mov to, %rax; jmp *%rax */
    memcpy(code + 2, &to, 8);
    memcpy(at, code, sizeof code);
}

/* Puts jumps to ours at the beginning of the kernel's functions. */
static int catch_clock(void) {
    unsigned long begin = 0, end = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) return 0;
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "[vdso]")) sscanf(line, "%lx-%lx", &begin, &end);
    fclose(maps);
    if (!begin || mprotect((void *)begin, end - begin, PROT_READ | PROT_WRITE | PROT_EXEC)) return 0;
    unsigned char *base = (unsigned char *)begin;
    Elf64_Ehdr *header = (Elf64_Ehdr *)base;
    Elf64_Shdr *sections = (Elf64_Shdr *)(base + header->e_shoff);
    int caught = 0;
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_DYNSYM) continue;
        Elf64_Sym *symbols = (Elf64_Sym *)(base + sections[i].sh_offset);
        const char *names = (const char *)(base + sections[sections[i].sh_link].sh_offset);
        for (unsigned long s = 0; s < sections[i].sh_size / sizeof *symbols; s++) {
            const char *name = names + symbols[s].st_name;
            unsigned char *at = base + symbols[s].st_value;
            if (!strcmp(name, "__vdso_clock_gettime")) jump(at, wrong_clock_gettime), caught = 1;
            if (!strcmp(name, "__vdso_gettimeofday")) jump(at, wrong_gettimeofday);
            if (!strcmp(name, "__vdso_time")) jump(at, wrong_time);
        }
    }
    mprotect((void *)begin, end - begin, PROT_READ | PROT_EXEC);
    return caught;
}
#else
static int catch_clock(void) { return 0; }
#endif

/* A wait of so many of the wrong clock's milliseconds. */
int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    if (timeout > 0 && control->rate_ppm)
        timeout = (int)(((int64_t)timeout * 1000000 + 1000000 + control->rate_ppm - 1) / (1000000 + control->rate_ppm));
    return NEXT(epoll_wait)(epoll, events, most, timeout);
}

/* Waits until a moment of the monotonic clock are made with the wrong one; the kernel has the right one. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (!real) real = (long (*)(long, ...))next("syscall");
    if (number == SYS_futex && a[3] && (a[1] & 0x7f) == FUTEX_WAIT_BITSET) {
        int64_t skew = skew_at(true_ns(CLOCK_MONOTONIC)) + (a[1] & FUTEX_CLOCK_REALTIME ? control->wall_offset : 0);
        if (skew) {
            struct timespec *asked = (struct timespec *)a[3], at;
            int64_t ns = (int64_t)asked->tv_sec * 1000000000 + asked->tv_nsec - skew;
            if (ns < 0) ns = 0;
            at.tv_sec = ns / 1000000000, at.tv_nsec = ns % 1000000000;
            return real(number, a[0], a[1], a[2], &at, a[4], a[5]);
        }
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- the journal ------------------------------------------------------------------------------------------------ */

enum kind { WRITE = 1, TRUNCATE, CREATE, RENAME, UNLINK, MKDIR, RMDIR, SYNC, SYNC_DIR };

/* Followed by first path, second path, new bytes, old bytes. */
struct record {
    int64_t kind, sequence, inode, offset, old_size, first, second, new_bytes, old_bytes;
};

#define FDS 65536
static struct open_file {
    int64_t inode; /* 0: not ours */
    int is_dir;
    int appends;
} files[FDS];

static int is_ours(const char *path) {
    return journal >= 0 && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The path without links in its directory; the last part need not exist. */
static int absolute(int dir, const char *path, char *out) {
    char copy[PATH_MAX], resolved[PATH_MAX];
    if (path[0] == '/' || dir == AT_FDCWD) {
        snprintf(copy, sizeof copy, "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        if (snprintf(copy, sizeof copy, "%s/%s", base, path) >= (int)sizeof copy) return 0;
    }
    size_t length = strlen(copy);
    while (length > 1 && copy[length - 1] == '/') copy[--length] = 0;
    char *slash = strrchr(copy, '/');
    const char *last = slash ? slash + 1 : copy;
    if (!slash) snprintf(resolved, sizeof resolved, ".");
    else if (slash == copy) snprintf(resolved, sizeof resolved, "/");
    else snprintf(resolved, sizeof resolved, "%.*s", (int)(slash - copy), copy);
    char directory[PATH_MAX];
    if (!realpath(resolved, directory)) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", strcmp(directory, "/") ? directory : "", last) < PATH_MAX;
}

static void put(enum kind kind, int64_t inode, int64_t offset, int64_t old_size, const char *first, const char *second,
                const struct iovec *news, int news_count, const void *old, size_t old_bytes) {
    struct iovec parts[64];
    struct record record = {kind, ++sequence, inode, offset, old_size, first ? (int64_t)strlen(first) : 0,
                            second ? (int64_t)strlen(second) : 0, 0, (int64_t)old_bytes};
    int count = 3;
    parts[0] = (struct iovec){&record, sizeof record};
    parts[1] = (struct iovec){(void *)(first ? first : ""), record.first};
    parts[2] = (struct iovec){(void *)(second ? second : ""), record.second};
    static char *joined;
    static size_t joined_size;
    size_t total = 0;
    for (int i = 0; i < news_count; i++) total += news[i].iov_len;
    if (total) {
        if (total > joined_size) joined = realloc(joined, joined_size = total);
        if (!joined) abort();
        size_t at = 0;
        for (int i = 0; i < news_count; i++) memcpy(joined + at, news[i].iov_base, news[i].iov_len), at += news[i].iov_len;
        parts[count++] = (struct iovec){joined, total};
        record.new_bytes = total;
    }
    if (old_bytes) parts[count++] = (struct iovec){(void *)old, old_bytes};
    size_t all = 0;
    for (int i = 0; i < count; i++) all += parts[i].iov_len;
    if (NEXT(writev)(journal, parts, count) != (ssize_t)all) abort();
}

/* What stands at a place of a file, as much of it as there is. */
static char *read_old(int fd, int64_t offset, size_t length, size_t *got) {
    char link[64];
    char *old = malloc(length ? length : 1);
    *got = 0;
    if (!old) abort();
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (again < 0) abort();
    while (*got < length) {
        ssize_t more = NEXT(pread)(again, old + *got, length - *got, offset + *got);
        if (more <= 0) break;
        *got += more;
    }
    syscall(SYS_close, again);
    return old;
}

static struct open_file *ours(int fd) {
    return journal >= 0 && fd >= 0 && fd < FDS && files[fd].inode && !files[fd].is_dir ? &files[fd] : NULL;
}

static void remember(int fd, const char *path, int flags) {
    struct stat stat;
    if (fd < 0 || fd >= FDS || journal < 0 || fstat(fd, &stat)) return;
    if (!is_ours(path) || !(S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) {
        files[fd].inode = 0;
        return;
    }
    files[fd] = (struct open_file){stat.st_ino, S_ISDIR(stat.st_mode), flags & O_APPEND};
}

static int64_t size_of(int fd) {
    struct stat stat;
    return fstat(fd, &stat) ? 0 : stat.st_size;
}

static void note_write(struct open_file *file, int fd, int64_t offset, const struct iovec *parts, int count) {
    int64_t size = size_of(fd);
    size_t length = 0, got = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *old = NULL;
    if (offset < 0) offset = file->appends ? size : lseek(fd, 0, SEEK_CUR);
    if (offset < size) old = read_old(fd, offset, length, &got);
    put(WRITE, file->inode, offset, size, NULL, NULL, parts, count, old, got);
    free(old);
}

static void note_truncate(int fd, int64_t inode, int64_t to) {
    int64_t size = size_of(fd);
    size_t got = 0;
    char *old = to < size ? read_old(fd, to, size - to, &got) : NULL;
    put(TRUNCATE, inode, to, size, NULL, NULL, NULL, 0, old, got);
    free(old);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

#define WRITES(fd, offset, parts, count, call)                    \
    struct open_file *file = ours(fd);                            \
    if (!file) return call;                                       \
    if (control->write_errno) {                                   \
        errno = (int)control->write_errno;                        \
        return -1;                                                \
    }                                                             \
    pthread_mutex_lock(&lock);                                    \
    note_write(file, fd, offset, parts, count);                   \
    ssize_t done = call;                                          \
    int failed = errno;                                           \
    pthread_mutex_unlock(&lock);                                  \
    errno = failed;                                               \
    return done

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    WRITES(fd, -1, &part, 1, NEXT(write)(fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) { WRITES(fd, -1, parts, count, NEXT(writev)(fd, parts, count)); }

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    struct iovec part = {(void *)bytes, length};
    WRITES(fd, offset, &part, 1, NEXT(pwrite)(fd, bytes, length, offset));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    struct iovec part = {(void *)bytes, length};
    WRITES(fd, offset, &part, 1, NEXT(pwrite64)(fd, bytes, length, offset));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    WRITES(fd, offset, parts, count, NEXT(pwritev)(fd, parts, count, offset));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    WRITES(fd, offset, parts, count, NEXT(pwritev64)(fd, parts, count, offset));
}

/* These would go past us: who calls them has a way to do without. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    if (ours(to)) {
        errno = ENOSYS;
        return -1;
    }
    return NEXT(copy_file_range)(from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) {
    if (ours(to)) {
        errno = EINVAL;
        return -1;
    }
    return ((ssize_t(*)(int, int, off64_t *, size_t))next("sendfile64"))(to, from, offset, length);
}

static int truncated(int fd, int64_t to, int (*call)(int, off64_t)) {
    struct open_file *file = ours(fd);
    if (!file) return call(fd, to);
    if (control->write_errno) {
        errno = (int)control->write_errno;
        return -1;
    }
    pthread_mutex_lock(&lock);
    note_truncate(fd, file->inode, to);
    int done = call(fd, to), failed = errno;
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
}

int ftruncate(int fd, off_t to) { return truncated(fd, to, (int (*)(int, off64_t))next("ftruncate")); }
int ftruncate64(int fd, off64_t to) { return truncated(fd, to, (int (*)(int, off64_t))next("ftruncate64")); }

static int synced(int fd, int (*call)(int)) {
    struct open_file *file = journal >= 0 && fd >= 0 && fd < FDS && files[fd].inode ? &files[fd] : NULL;
    int64_t delay = control->sync_delay;
    if (file && delay > 0) {
        struct timespec wait = {delay / 1000000, delay % 1000000 * 1000};
        nanosleep(&wait, NULL);
    }
    if (file && control->sync_errno) {
        errno = (int)control->sync_errno;
        return -1;
    }
    if (!file) return call(fd);
    /* What is written while the sync is under way is not in it. */
    pthread_mutex_lock(&lock);
    int64_t upto = sequence, inode = file->inode;
    int is_dir = file->is_dir;
    pthread_mutex_unlock(&lock);
    int done = call(fd), failed = errno;
    if (!done) {
        char link[64], path[PATH_MAX] = "";
        if (is_dir) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(link, path, sizeof path - 1);
            path[length < 0 ? 0 : length] = 0;
        }
        pthread_mutex_lock(&lock);
        put(is_dir ? SYNC_DIR : SYNC, inode, upto, 0, path, NULL, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = failed;
    return done;
}

int fsync(int fd) { return synced(fd, (int (*)(int))next("fsync")); }
int fdatasync(int fd) { return synced(fd, (int (*)(int))next("fdatasync")); }

/* ---- names -------------------------------------------------------------------------------------------------------- */

static int opened(int dir, const char *path, int flags, mode_t mode) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = (int (*)(int, const char *, int, ...))next("openat64");
    char where[PATH_MAX];
    if (journal < 0 || !absolute(dir, path, where) || !is_ours(where)) {
        int fd = real(dir, path, flags, mode);
        if (fd >= 0 && fd < FDS) files[fd].inode = 0;
        return fd;
    }
    pthread_mutex_lock(&lock);
    struct stat before;
    int is_new = stat(where, &before) != 0;
    if (!is_new && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY && S_ISREG(before.st_mode) && before.st_size) {
        int old = real(dir, path, O_RDONLY | O_CLOEXEC);
        if (old >= 0) {
            note_truncate(old, before.st_ino, 0);
            syscall(SYS_close, old);
        }
    }
    int fd = real(dir, path, flags, mode), failed = errno;
    if (fd >= 0) {
        remember(fd, where, flags);
        if (is_new && fd < FDS) put(CREATE, files[fd].inode, 0, 0, where, NULL, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return fd;
}

#define MODE                                       \
    mode_t mode = 0;                               \
    if (flags & (O_CREAT | O_TMPFILE)) {           \
        va_list list;                              \
        va_start(list, flags);                     \
        mode = va_arg(list, mode_t);               \
        va_end(list);                              \
    }

int open(const char *path, int flags, ...) {
    MODE return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE return opened(AT_FDCWD, path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...) {
    MODE return opened(dir, path, flags, mode);
}
int openat64(int dir, const char *path, int flags, ...) {
    MODE return opened(dir, path, flags, mode);
}

int close(int fd) {
    if (journal >= 0 && fd >= 0 && fd < FDS) {
        pthread_mutex_lock(&lock);
        files[fd].inode = 0;
        pthread_mutex_unlock(&lock);
    }
    return NEXT(close)(fd);
}

static int controlled(int fd, int command, void *argument, const char *name) {
    int done = ((int (*)(int, int, ...))next(name))(fd, command, argument);
    if (journal >= 0 && done >= 0 && done < FDS && fd < FDS && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) {
        pthread_mutex_lock(&lock);
        files[done] = files[fd];
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int fcntl(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return controlled(fd, command, argument, "fcntl");
}

int fcntl64(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return controlled(fd, command, argument, "fcntl64");
}

/* A second name for what is about to lose its only one, so that it can be given back. */
static void keep(const char *path, char *name) {
    static int64_t count;
    int length = snprintf(name, PATH_MAX, "%s/%ld-%ld", kept, (long)getpid(), (long)count++);
    if (length >= PATH_MAX || linkat(AT_FDCWD, path, AT_FDCWD, name, 0)) name[0] = 0;
}

static int renamed(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    static int (*real)(int, const char *, int, const char *, unsigned);
    if (!real) real = (int (*)(int, const char *, int, const char *, unsigned))next("renameat2");
    char source[PATH_MAX], target[PATH_MAX], replaced[PATH_MAX] = "";
    if (journal < 0 || !absolute(from_dir, from, source) || !absolute(to_dir, to, target) || !is_ours(target))
        return real(from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    struct stat moved, there;
    int64_t inode = stat(source, &moved) ? 0 : moved.st_ino;
    if (!stat(target, &there) && S_ISREG(there.st_mode)) keep(target, replaced);
    int done = real(from_dir, from, to_dir, to, flags), failed = errno;
    if (!done) {
        /* The replaced file's second name travels as the new bytes. */
        struct iovec part = {replaced, strlen(replaced)};
        put(RENAME, inode, 0, 0, source, target, &part, 1, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int unlinked(int dir, const char *path, int flags) {
    static int (*real)(int, const char *, int);
    if (!real) real = (int (*)(int, const char *, int))next("unlinkat");
    char where[PATH_MAX], second[PATH_MAX] = "";
    if (journal < 0 || !absolute(dir, path, where) || !is_ours(where)) return real(dir, path, flags);
    pthread_mutex_lock(&lock);
    if (!(flags & AT_REMOVEDIR)) keep(where, second);
    int done = real(dir, path, flags), failed = errno;
    if (!done) put(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, 0, where, second, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return done;
}

int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return unlinked(dir, path, flags); }

static int made(int dir, const char *path, mode_t mode) {
    static int (*real)(int, const char *, mode_t);
    if (!real) real = (int (*)(int, const char *, mode_t))next("mkdirat");
    char where[PATH_MAX];
    int done = real(dir, path, mode), failed = errno;
    if (!done && journal >= 0 && absolute(dir, path, where) && is_ours(where)) {
        pthread_mutex_lock(&lock);
        put(MKDIR, 0, 0, 0, where, NULL, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = failed;
    return done;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return made(dir, path, mode); }

/* -------------------------------------------------------------------------------------------------------------------- */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    if (!path) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (page == MAP_FAILED) return;
    control = page;
    control->clock_caught = catch_clock();
    const char *below = getenv("FAULTS_ROOT"), *changes = getenv("FAULTS_JOURNAL"), *second = getenv("FAULTS_KEPT");
    if (!below || !changes || !second || !realpath(below, root)) return;
    root_length = strlen(root);
    snprintf(kept, sizeof kept, "%s", second);
    /* Numbers go on from process to process. */
    sequence = true_ns(CLOCK_MONOTONIC);
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.%020ld", changes, (long)sequence);
    int at = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (at < 0) return;
    /* Out of the way of what the program opens. */
    journal = fcntl(at, F_DUPFD_CLOEXEC, 900);
    syscall(SYS_close, at);
}
