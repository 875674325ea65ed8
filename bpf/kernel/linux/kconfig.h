/* libbcc does not accept a header tree without this file. */
#define CONFIG_BPF_SYSCALL 1
