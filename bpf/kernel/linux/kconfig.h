/* libbcc refuses headers of a kernel without it. */
#define CONFIG_BPF_SYSCALL 1
