#ifndef H2OLOG_LINUX_TYPES_H
#define H2OLOG_LINUX_TYPES_H

typedef signed char __s8, s8, int8_t;
typedef unsigned char __u8, u8, uint8_t;
typedef short __s16, s16, int16_t;
typedef unsigned short __u16, u16, uint16_t, __be16, __le16, __sum16;
typedef int __s32, s32, int32_t;
typedef unsigned int __u32, u32, uint32_t, __be32, __le32, __wsum;
typedef long long __s64, s64, int64_t;
typedef unsigned long long __u64, u64, uint64_t, __be64, __le64;
typedef __u64 __attribute__((aligned(8))) __aligned_u64;
typedef unsigned long size_t, uintptr_t;
typedef long ssize_t;
typedef int pid_t;
#if __STDC_VERSION__ < 202311L /* C23 has it as a keyword */
typedef _Bool bool;
#endif

#ifndef NULL
#define NULL ((void *)0)
#endif

#endif
