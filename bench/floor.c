/*
 * The floor: what the kernel itself takes for the container of `runc spec`, and nothing else.
 *
 *     cc -O2 -static -o floor floor.c
 *     floor ROOTFS CGROUP2_FOLDER COMMAND...
 *
 * One process, everything known when it was compiled: no configuration is read, no state kept, nothing checked but
 * that each call worked. No runtime can be faster and do the same; how far one is above it is its own cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define EACH(item, list) for (size_t item = 0; item < sizeof(list) / sizeof((list)[0]); item++)

/* Ends the program unless `result` is good. */
static long must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(125);
    }
    return result;
}

/* CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE: what the bundle leaves. */
#define LEFT (1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE)

static const struct {
    const char *kind, *target, *options;
    unsigned long flags;
} mounts[] = {
    {"proc", "proc", NULL, 0},
    {"tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
    {"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC},
    {"tmpfs", "dev/shm", "mode=1777,size=65536k", MS_NOSUID | MS_NOEXEC | MS_NODEV},
    {"mqueue", "dev/mqueue", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
    {"sysfs", "sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY},
    {"cgroup2", "sys/fs/cgroup", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME | MS_RDONLY},
};

static const struct {
    const char *path;
    int major, minor;
} devices[] = {
    {"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
    {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
};

static const char *const links[][2] = {
    {"pts/ptmx", "dev/ptmx"},           {"/proc/self/fd", "dev/fd"},         {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"/proc/kcore", "dev/core"},
};

static const char *const masked[] = {
    "/proc/acpi",       "/proc/asound",      "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
};

static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

/* Every device may be used that is there: the shape of the program counts here, not what it says. */
static void allow_devices(int cgroup)
{
    struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uintptr_t)program,
        .insn_cnt = sizeof(program) / sizeof(program[0]),
        .license = (uintptr_t)"GPL",
    };
    int fd = must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load)), "bpf(PROG_LOAD)");
    union bpf_attr attach = {.target_fd = cgroup, .attach_bpf_fd = fd, .attach_type = BPF_CGROUP_DEVICE};
    must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)), "bpf(PROG_ATTACH)");
    close(fd);
}

static void mount_all(const char *root)
{
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make all mounts private");
    must(mount(root, root, NULL, MS_BIND | MS_REC, NULL), "bind the root");
    must(chdir(root), "chdir");
    EACH(i, mounts) {
        if (mkdir(mounts[i].target, 0755) && errno != EEXIST)
            must(-1, mounts[i].target);
        must(mount(mounts[i].kind, mounts[i].target, mounts[i].kind, mounts[i].flags, mounts[i].options),
             mounts[i].target);
    }
    EACH(i, devices)
        must(mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), devices[i].path);
    EACH(i, links)
        must(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void enter_root(void)
{
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir");
}

static void cover_paths(void)
{
    struct stat stat_of;
    EACH(i, read_only) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            must(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), read_only[i]);
    }
    EACH(i, masked) {
        if (stat(masked[i], &stat_of))
            continue;
        if (S_ISDIR(stat_of.st_mode))
            must(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL), masked[i]);
        else
            must(mount("/dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
    }
    must(mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), "make the root read-only");
}

static void drop_capabilities(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (cap > 31 || !(LEFT >> cap & 1))
            must(prctl(PR_CAPBSET_DROP, cap), "prctl(CAPBSET_DROP)");
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{LEFT, LEFT, 0}, {0, 0, 0}};
    must(syscall(SYS_capset, &header, data), "capset");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)");
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: floor ROOTFS CGROUP2_FOLDER COMMAND...\n");
        return 125;
    }
    char path[4096];
    snprintf(path, sizeof(path), "%s/floor-%d", argv[2], getpid());
    must(mkdir(path, 0755), path);
    int cgroup = must(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
    allow_devices(cgroup);

    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                 CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup,
    };
    pid_t child = must(syscall(SYS_clone3, &args, sizeof(args)), "clone3");
    if (child == 0) {
        mount_all(argv[1]);
        must(sethostname("floor", 5), "sethostname");
        enter_root();
        cover_paths();
        struct rlimit files = {1024, 1024};
        must(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
        drop_capabilities();
        must(execv(argv[3], argv + 3), argv[3]);
    }

    int status;
    must(waitpid(child, &status, 0), "waitpid");
    /* A namespace's last user is gone a little before its cgroup is seen to be empty. */
    for (int tries = 0; rmdir(path) && tries < 10000; tries++)
        usleep(50);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
