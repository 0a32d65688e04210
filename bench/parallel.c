/*
 * parallel COUNT COMMAND...: starts it COUNT times at once, with each % in its words replaced by the number of the
 * copy, and prints for each how many microseconds it took from its fork to its end. Fails if one of them does.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static char *numbered(const char *word, int number)
{
    const char *at = strchr(word, '%');
    char *text = NULL;
    if (!at)
        return strdup(word);
    return asprintf(&text, "%.*s%d%s", (int)(at - word), word, number, at + 1) < 0 ? NULL : text;
}

static pid_t start(char **words, int count, int number)
{
    char *argv[count + 1];
    for (int i = 0; i < count; i++)
        argv[i] = numbered(words[i], number);
    argv[count] = NULL;
    pid_t pid = vfork();
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[1]) : 0, failed = 0;
    if (count < 1)
        return 125;
    pid_t pids[count];
    long begun[count];
    for (int i = 0; i < count; i++) {
        begun[i] = now();
        pids[i] = start(argv + 2, argc - 2, i);
    }
    int status;
    for (pid_t pid; (pid = wait(&status)) > 0;)
        for (int i = 0; i < count; i++)
            if (pids[i] == pid) {
                printf("%ld\n", now() - begun[i]);
                failed |= status;
            }
    return failed != 0;
}
