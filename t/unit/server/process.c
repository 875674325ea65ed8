#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "server/process.h"

/* A child that waits until it is killed. */
struct waiting {
    pid_t pid;
    int ready[2];
};

static _Noreturn void wait_to_be_ended(void)
{
    for (;;)
        pause();
}

static int set_name(const void *argument)
{
    const struct waiting *waiting = argument;

    prctl(PR_SET_NAME, "h2o\x1b[2J\n\xc3\xa9");
    (void)!write(waiting->ready[1], "x", 1);
    wait_to_be_ended();
}

/* Executes a program that stops itself. This closes the pipe, which tells the test. */
static int execute(const void *argument)
{
    (void)argument;
    execl("/bin/sh", "sh", "-c", "kill -STOP $$", "a b", "", "\x1b]0;x\x07", "\xff", (char *)NULL);
    return 1;
}

static void start(struct waiting *waiting, int (*function)(const void *))
{
    char byte;

    assert_int_equal(pipe2(waiting->ready, O_CLOEXEC), 0);
    waiting->pid = child_start(function, waiting);
    close(waiting->ready[1]);
    (void)!read(waiting->ready[0], &byte, 1);
    close(waiting->ready[0]);
}

static void open_process(struct process *process, pid_t pid)
{
    struct error error = {0};

    if (process_open(process, pid, &error) != 0)
        fail_msg("%s", error.text);
    check_string("error", error.text, "");
    assert_int_equal(process->pid, pid);
}

static void name_and_arguments_are_escaped(void **state)
{
    struct waiting waiting;
    struct process process;

    (void)state;
    start(&waiting, set_name);
    open_process(&process, waiting.pid);
    check_string("name", process.name, "h2o\\x1b[2J\\x0a\xc3\xa9");
    process_dispose(&process);
    child_end(waiting.pid);

    start(&waiting, execute);
    open_process(&process, waiting.pid);
    check_string("name", process.name, "sh");
    check_string("command", process.command, "sh -c kill -STOP $$ a b  \\x1b]0;x\\x07 \\xff");
    process_dispose(&process);
    child_end(waiting.pid);
}

static void knows_when_it_has_ended(void **state)
{
    struct waiting waiting;
    struct process process;
    struct pollfd pollfd = {.events = POLLIN};

    (void)state;
    start(&waiting, set_name);
    open_process(&process, waiting.pid);
    assert_false(process_has_ended(&process));
    kill(waiting.pid, SIGKILL);
    pollfd.fd = process.pidfd;
    assert_int_equal(poll(&pollfd, 1, 10000), 1);
    assert_true(process_has_ended(&process)); /* a zombie */
    child_wait(waiting.pid);
    assert_true(process_has_ended(&process));
    process_dispose(&process);
}

static int end(const void *argument)
{
    (void)argument;
    return 0;
}

static void refuses_other_pids(void **state)
{
    const pid_t ended = child_start(end, NULL);
    struct error error = {0};
    struct process process;
    char expected[64];

    (void)state;
    child_wait(ended);
    assert_int_equal(process_open(&process, ended, &error), -1);
    assert_int_equal(error.status, ERROR_FAILED);
    snprintf(expected, sizeof(expected), "there is no process %d", (int)ended);
    check_string("error", error.text, expected);
    assert_false(process_has_ended(&process)); /* it was never open */
    process_dispose(&process);
}

struct thread {
    pid_t tid;
    pthread_barrier_t barrier;
};

static void *run_thread(void *argument)
{
    struct thread *thread = argument;

    thread->tid = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&thread->barrier); /* the thread id is set */
    pthread_barrier_wait(&thread->barrier); /* it is not needed any more */
    return NULL;
}

static void names_the_process_of_a_thread(void **state)
{
    struct thread thread;
    struct error error = {0};
    struct process process;
    pthread_t id;
    char expected[128];

    (void)state;
    pthread_barrier_init(&thread.barrier, NULL, 2);
    assert_int_equal(pthread_create(&id, NULL, run_thread, &thread), 0);
    pthread_barrier_wait(&thread.barrier);
    assert_int_equal(process_open(&process, thread.tid, &error), -1);
    snprintf(expected, sizeof(expected), "%d is a thread of process %d; trace that: -p %d",
             (int)thread.tid, (int)getpid(), (int)getpid());
    check_string("error", error.text, expected);
    process_dispose(&process);
    pthread_barrier_wait(&thread.barrier);
    pthread_join(id, NULL);
    pthread_barrier_destroy(&thread.barrier);
}

static int start_in_namespace(const void *argument)
{
    const struct waiting *waiting = argument;
    pid_t child;

    if (unshare(CLONE_NEWPID) != 0)
        return 1;
    child = fork();
    if (child == 0)
        wait_to_be_ended();
    return write(waiting->ready[1], &child, sizeof(child)) == sizeof(child) ? 0 : 2;
}

static void knows_its_namespace(void **state)
{
    struct waiting waiting;
    struct process process;
    struct stat own;
    pid_t inner;

    (void)state;
    assert_int_equal(stat("/proc/self/ns/pid", &own), 0);
    start(&waiting, set_name);
    open_process(&process, waiting.pid);
    assert_true(process.pid_device == own.st_dev && process.pid_inode == own.st_ino);
    process_dispose(&process);
    child_end(waiting.pid);

    if (geteuid() != 0)
        return;
    assert_int_equal(pipe2(waiting.ready, O_CLOEXEC), 0);
    child_check("unshare", child_run(start_in_namespace, &waiting));
    assert_int_equal(read(waiting.ready[0], &inner, sizeof(inner)), sizeof(inner));
    open_process(&process, inner);
    assert_true(process.pid_device == own.st_dev && process.pid_inode != own.st_ino);
    process_dispose(&process);
    kill(inner, SIGKILL);
    close(waiting.ready[0]);
    close(waiting.ready[1]);
}

static bool is_mapped_file(const struct process *process, const void *memory)
{
    const uint64_t address = (uintptr_t)memory;

    for (size_t i = 0; i != process->num_mapped_files; ++i) {
        if (address >= process->mapped_files[i].begin && address < process->mapped_files[i].end)
            return true;
    }
    return false;
}

/* A forked child has the same addresses. */
static void knows_where_files_are_mapped(void **state)
{
    static const char constant[] = "a constant";
    char *heap = memory_format("%s", "not of a file");
    struct waiting waiting;
    struct process process;

    (void)state;
    start(&waiting, set_name);
    open_process(&process, waiting.pid);
    assert_true(is_mapped_file(&process, constant));
    assert_true(is_mapped_file(&process, (const void *)(uintptr_t)&pause)); /* a library */
    assert_false(is_mapped_file(&process, heap));
    assert_false(is_mapped_file(&process, &process)); /* the stack */
    for (size_t i = 1; i < process.num_mapped_files; ++i)
        assert_true(process.mapped_files[i - 1].end < process.mapped_files[i].begin);
    process_dispose(&process);
    child_end(waiting.pid);
    free(heap);
}

static void notices_another_program(void **state)
{
    struct error error = {0};
    struct waiting waiting;
    struct process process;
    char expected[128];
    int binary = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(binary >= 0);
    start(&waiting, set_name);
    open_process(&process, waiting.pid);
    assert_int_equal(process_settle(&process, binary, &error), 0);
    check_string("error", error.text, "");
    process_dispose(&process);
    child_end(waiting.pid);

    start(&waiting, execute);
    open_process(&process, waiting.pid);
    assert_int_equal(process_settle(&process, binary, &error), -1);
    snprintf(expected, sizeof(expected),
             "process %d has executed another program while h2olog attached to it",
             (int)waiting.pid);
    check_string("error", error.text, expected);
    process_dispose(&process);
    child_end(waiting.pid);
    close(binary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_and_arguments_are_escaped),
        cmocka_unit_test(knows_when_it_has_ended),
        cmocka_unit_test(refuses_other_pids),
        cmocka_unit_test(names_the_process_of_a_thread),
        cmocka_unit_test(knows_its_namespace),
        cmocka_unit_test(knows_where_files_are_mapped),
        cmocka_unit_test(notices_another_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
