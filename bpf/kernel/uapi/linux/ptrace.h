/* The registers of the traced thread, as the kernel lays them out for a BPF program of type kprobe. */
#ifndef H2OLOG_LINUX_PTRACE_H
#define H2OLOG_LINUX_PTRACE_H

#if defined(__aarch64__) || defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
    unsigned long long regs[31];
    unsigned long long sp;
    unsigned long long pc;
    unsigned long long pstate;
};
struct pt_regs {
    unsigned long long regs[31];
    unsigned long long sp;
    unsigned long long pc;
    unsigned long long pstate;
};
#else
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
    unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#endif

#endif
