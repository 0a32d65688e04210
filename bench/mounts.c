/*
 * What the kernel itself takes for many mounts in a new root, and nothing else.
 *
 *     cc -O2 -static -o mounts mounts.c
 *     mounts ROOT COUNT SOURCE COMMAND...
 *
 * The calls that a careful program cannot do without: a read-only clone of SOURCE for each of ROOT/m0, ROOT/m1 and so
 * on (made if they are missing), found below an fd of the root, attached by fd. Then the root is entered.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of sys/mount.h, which does not go together with linux/mount.h. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define MNT_DETACH 2

static long must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "mounts: %s: %s\n", what, strerror(errno));
        _exit(125);
    }
    return result;
}

static void one(int root, const char *source, const char *name)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    int tree = must(syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), source);
    must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)), "mount_setattr");
    int target = syscall(SYS_openat2, root, name, &how, sizeof(how));
    if (target < 0) {
        must(mkdirat(root, name, 0755), name);
        target = must(syscall(SYS_openat2, root, name, &how, sizeof(how)), name);
    }
    must(syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH), "move_mount");
    close(target);
    close(tree);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: mounts ROOT COUNT SOURCE COMMAND...\n");
        return 125;
    }
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make all mounts private");
    int old = must(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "/");
    int root = must(syscall(SYS_open_tree, AT_FDCWD, argv[1], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), argv[1]);
    must(syscall(SYS_move_mount, root, "", old, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH), "move_mount");
    for (int i = 0, count = atoi(argv[2]); i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "m%d", i);
        one(root, argv[3], name);
    }
    must(fchdir(root), "fchdir");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(fchdir(old), "fchdir");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir");
    execv(argv[4], argv + 4);
    must(-1, argv[4]);
}
