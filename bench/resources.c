/*
 * What the kernel itself takes for the limits of a group, and nothing else.
 *
 *     cc -O2 -static -o resources resources.c
 *     resources LIST COMMAND...
 *
 * LIST has a line for each directory of the group, "dir PATH", and then one for each value, "write PATH FILE VALUE". The
 * directories are made, the values written, each file opened once; a child goes into the group and becomes the command;
 * when it has ended the directories are removed. Nothing is read back.
 *
 * It is the floor for any tool: a file of a new group costs its first open (the kernel makes an inode of it), the write
 * and the close, and there is no call that does without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 32

static char *paths[MOST];
static int fds[MOST], count;

static long must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "resources: %s: %s\n", what, strerror(errno));
        exit(125);
    }
    return result;
}

static int dir_of(const char *path)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(paths[i], path))
            return fds[i];
    errno = ENOENT;
    return must(-1, path);
}

static void put(int dir, const char *file, const char *value)
{
    int fd = must(openat(dir, file, O_WRONLY | O_CLOEXEC), file);
    must(write(fd, value, strlen(value)), file);
    close(fd);
}

/* A new v1 cpuset takes no process before it has what its parent has. */
static void inherit(int dir, const char *file)
{
    char above[64], value[4096];
    snprintf(above, sizeof(above), "../%s", file);
    int fd = openat(dir, above, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long n = must(read(fd, value, sizeof(value) - 1), above);
    close(fd);
    value[n] = 0;
    put(dir, file, value);
}

static void make(const char *path)
{
    if (count == MOST)
        exit(125);
    must(mkdir(path, 0755), path);
    paths[count] = strdup(path);
    int dir = fds[count++] = must(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
    if (!faccessat(dir, "cgroup.clone_children", F_OK, 0)) {
        inherit(dir, "cpuset.cpus");
        inherit(dir, "cpuset.mems");
    }
}

/* Values of one file that stand together share its fd. */
static void set(const char *path, const char *file, const char *value)
{
    static char last[512];
    static int fd = -1;
    char name[512];
    snprintf(name, sizeof(name), "%s/%s", path, file);
    if (strcmp(name, last)) {
        close(fd);
        fd = must(openat(dir_of(path), file, O_WRONLY | O_CLOEXEC), name);
        strcpy(last, name);
    }
    must(write(fd, value, strlen(value)), name);
}

static int v2_dir(void)
{
    for (int i = 0; i < count; i++)
        if (faccessat(fds[i], "tasks", F_OK, 0))
            return fds[i];
    return -1;
}

/* Made in the v2 group: to move there later waits for an RCU grace period, some milliseconds and never the same. */
static int child_in(int dir)
{
    struct clone_args args = {.flags = CLONE_VFORK, .exit_signal = SIGCHLD};
    if (dir >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir;
    }
    return syscall(SYS_clone3, &args, sizeof(args));
}

int main(int argc, char **argv)
{
    static char line[8192], list[1 << 16];
    if (argc < 3) {
        fprintf(stderr, "usage: resources LIST COMMAND...\n");
        return 125;
    }
    FILE *file = fopen(argv[1], "r");
    must(file ? 0 : -1, argv[1]);
    setvbuf(file, list, _IOFBF, sizeof(list));
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = 0;
        char *kind = strtok(line, " "), *path = strtok(NULL, " ");
        if (!strcmp(kind, "dir")) {
            make(path);
            continue;
        }
        char *name = strtok(NULL, " ");
        set(path, name, strtok(NULL, ""));
    }
    fclose(file);
    int child = must(child_in(v2_dir()), "clone3");
    if (!child) {
        for (int i = 0; i < count; i++)
            if (!faccessat(fds[i], "tasks", F_OK, 0))
                put(fds[i], "tasks", "0");
        execv(argv[2], argv + 2);
        must(-1, argv[2]);
    }
    int status;
    must(waitpid(child, &status, 0), "wait");
    for (int i = 0; i < count; i++)
        while (rmdir(paths[i]) < 0)
            must(errno == EBUSY ? 0 : -1, paths[i]);
    return status != 0;
}
