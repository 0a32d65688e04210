/*
 * peak COMMAND...: runs it, and says on fd 3 (stderr if that is closed) the greatest resident set in KiB that any
 * process of its tree ever had. Static and tiny, because what a process held before execve counts as its peak too.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    /* Orphans become our children, so that each is waited for and counted. */
    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return 125;
    fcntl(3, F_SETFD, FD_CLOEXEC);
    pid_t first = vfork();
    if (first == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int status = 0, code = 125;
    for (pid_t pid; (pid = wait(&status)) > 0;)
        if (pid == first)
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    if (dprintf(3, "%ld\n", usage.ru_maxrss) < 0)
        dprintf(2, "%ld\n", usage.ru_maxrss);
    return code;
}
