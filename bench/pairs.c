/*
 * Two differences of a fraction of a millisecond, compared on a machine that is never quite still.
 *
 *     cc -O2 -static -o pairs pairs.c
 *     pairs ROUNDS FILE [cpu]
 *
 * FILE has four command lines, words parted by spaces: one thing without and with what is asked about, and another one
 * without and with it. In each round all four run, one after the other, so that what slows the machine down for longer
 * slows all of them, each time in another order and after a pause: cgroups and mounts that a command leaves are taken
 * apart when it has ended, and whoever always ran next would pay for it. Of each difference the median counts, and how far
 * it can be trusted is what the medians of twenty parts of the rounds say. Output is JSON, in microseconds.
 *
 * With `cpu` what counts is the time that a command and its children were on a CPU, for differences that are small beside
 * the waiting in them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS 64
#define PARTS 20
/* For what the kernel does behind a command's back, in microseconds. */
#define SETTLE 20000

static char *commands[4][WORDS];
static int on_cpu;

static void die(const char *what)
{
    fprintf(stderr, "pairs: %s: %s\n", what, strerror(errno));
    exit(125);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double run(char **command)
{
    double start = now();
    pid_t child = vfork();
    if (child < 0)
        die("vfork");
    if (!child) {
        execv(command[0], command);
        _exit(127);
    }
    int status;
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0)
        if (errno != EINTR)
            die("wait4");
    double took = now() - start;
    if (on_cpu)
        took = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    if (status) {
        fprintf(stderr, "pairs: %s ended with %#x\n", command[0], status);
        exit(125);
    }
    return took;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double *sorted = malloc(count * sizeof(double));
    if (!sorted)
        die("malloc");
    memcpy(sorted, values, count * sizeof(double));
    qsort(sorted, count, sizeof(double), compare);
    double middle = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    free(sorted);
    return middle;
}

static void read_commands(const char *path)
{
    static char lines[4][4096];
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    for (int i = 0; i < 4; i++) {
        if (!fgets(lines[i], sizeof(lines[i]), file))
            die("four command lines are wanted");
        int n = 0;
        for (char *word = strtok(lines[i], " \n"); word && n < WORDS - 1; word = strtok(NULL, " \n"))
            commands[i][n++] = word;
    }
    fclose(file);
}

/* As random as it needs to be, and the same each time. */
static void shuffle(int *order)
{
    static unsigned seed = 1;
    for (int i = 3; i > 0; i--) {
        seed = seed * 1103515245 + 12345;
        int other = (seed >> 16) % (i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

int main(int argc, char **argv)
{
    on_cpu = argc == 4 && !strcmp(argv[3], "cpu");
    int rounds = argc == 3 + on_cpu ? atoi(argv[1]) : 0;
    if (rounds < 2 * PARTS) {
        fprintf(stderr, "usage: pairs ROUNDS FILE [cpu], %d rounds at least\n", 2 * PARTS);
        return 125;
    }
    read_commands(argv[2]);
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, 0) < 0)
        die("/dev/null");
    double *first = malloc(rounds * sizeof(double)), *second = malloc(rounds * sizeof(double));
    if (!first || !second)
        die("malloc");
    int order[4] = {0, 1, 2, 3};
    for (int round = -3; round < rounds; round++) {
        double took[4];
        shuffle(order);
        for (int i = 0; i < 4; i++) {
            usleep(SETTLE);
            took[order[i]] = run(commands[order[i]]);
        }
        if (round < 0)
            continue;
        first[round] = took[1] - took[0];
        second[round] = took[3] - took[2];
    }
    double ratio[PARTS], sum = 0, squares = 0;
    int part = rounds / PARTS;
    for (int i = 0; i < PARTS; i++) {
        ratio[i] = median(first + i * part, part) / median(second + i * part, part);
        sum += ratio[i];
    }
    for (int i = 0; i < PARTS; i++)
        squares += (ratio[i] - sum / PARTS) * (ratio[i] - sum / PARTS);
    double a = median(first, rounds), b = median(second, rounds);
    printf("{\"first\": %.1f, \"second\": %.1f, \"ratio\": %.3f, \"error\": %.3f}\n", a, b, a / b,
           sqrt(squares / (PARTS - 1) / PARTS));
    return 0;
}
