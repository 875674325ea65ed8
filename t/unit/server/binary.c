#include "support.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/binary.h"

/* A draft of an ELF file: header, segment table, section table, names. */
struct elf {
    Elf64_Ehdr header;
    Elf64_Phdr segments[4];
    Elf64_Shdr sections[4];
    char names[64];
};

static void put_segment(struct elf *elf, uint32_t flags, uint64_t address, uint64_t size,
                        uint64_t offset)
{
    elf->segments[elf->header.e_phnum++] = (Elf64_Phdr){.p_type = PT_LOAD,
                                                        .p_flags = flags,
                                                        .p_vaddr = address,
                                                        .p_filesz = size,
                                                        .p_memsz = size + 0x10000,
                                                        .p_offset = offset};
}

/* In the file, code begins at 0x1000 and data at 0x2e10; in memory, elsewhere. */
static void elf_open(struct elf *elf)
{
    *elf = (struct elf){
        .header = {.e_type = ET_DYN,
                   .e_phoff = offsetof(struct elf, segments),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_shoff = offsetof(struct elf, sections),
                   .e_shentsize = sizeof(Elf64_Shdr)},
    };
    memcpy(elf->header.e_ident, ELFMAG, SELFMAG);
    elf->header.e_ident[EI_CLASS] = ELFCLASS64;
    elf->header.e_ident[EI_DATA] =
        __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
    put_segment(elf, PF_R | PF_X, 0x401000, 0x1800, 0x1000);
    put_segment(elf, PF_R | PF_W, 0x404e10, 0x400, 0x2e10);
}

/* Names of sections; the first one is the section of names. */
static void put_sections(struct elf *elf, const char *first, const char *second)
{
    size_t used = 1;
    const char *names[] = {"", ".shstrtab", first, second};

    elf->header.e_shnum = 4;
    elf->header.e_shstrndx = 1;
    for (size_t i = 1; i != 4; ++i) {
        elf->sections[i].sh_name = (Elf64_Word)used;
        strcpy(elf->names + used, names[i]);
        used += strlen(names[i]) + 1;
    }
    elf->sections[1].sh_offset = offsetof(struct elf, names);
    elf->sections[1].sh_size = used;
}

static int file_of(const void *bytes, size_t size)
{
    int fd = memfd_create("binary", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    return fd;
}

/* Calls binary_open for the first `size` bytes. */
static int open_part(struct binary *binary, const struct elf *elf, size_t size)
{
    int fd = file_of(elf, size);
    int result = binary_open(binary, fd);

    close(fd);
    return result;
}

static int open_elf(struct binary *binary, const struct elf *elf)
{
    return open_part(binary, elf, sizeof(*elf));
}

static void code_is_found_by_segments(void **state)
{
    static const struct {
        uint64_t address, offset; /* 0: not found */
    } cases[] = {{0x400fff, 0},  {0x401000, 0x1000}, {0x4027ff, 0x27ff},
                 {0x402800, 0},  {0x404e10, 0},      {0, 0},
                 {UINT64_MAX, 0}};
    struct elf elf;
    struct binary binary;

    (void)state;
    elf_open(&elf);
    assert_int_equal(open_elf(&binary, &elf), 0);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        uint64_t offset = 0;
        assert_int_equal(binary_find_code(&binary, cases[i].address, &offset),
                         cases[i].offset != 0 ? 0 : -1);
        assert_int_equal(offset, cases[i].offset);
    }
    binary_close(&binary);
}

/* In writable segments, and in their last page after the end of the segment. */
static void semaphores_are_found_by_segments(void **state)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t mapped_to = (0x404e10 + 0x400 + page - 1) / page * page;
    const struct {
        uint64_t address, offset; /* 0: unusable for the kernel */
    } cases[] = {
        {0x404e10, 0x2e10},
        {0x40520e, 0x320e},
        {0x405210, 0x3210}, /* zeros after the part in the file */
        {mapped_to - 2, mapped_to - 2 - 0x404e10 + 0x2e10},
        {mapped_to, 0},
        {0x404e11, 0}, /* not aligned */
        {0x404e0e, 0},
        {0x401000, 0}, /* not writable */
        {0, 0},
        {UINT64_MAX, 0},
    };
    struct elf elf;
    struct binary binary;

    (void)state;
    elf_open(&elf);
    assert_int_equal(open_elf(&binary, &elf), 0);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        uint64_t offset = 0;
        int result = binary_find_semaphore(&binary, cases[i].address, &offset);
        if (result != (cases[i].offset != 0 ? 0 : -1) || (result == 0 && offset != cases[i].offset))
            fail_msg("0x%llx: %d, 0x%llx", (unsigned long long)cases[i].address, result,
                     (unsigned long long)offset);
    }
    binary_close(&binary);
}

static void sections_show_probes(void **state)
{
    static const struct {
        const char *first, *second;
        bool has_notes, has_semaphores;
    } cases[] = {
        {".note.stapsdt", ".probes", true, true},   {".probes", ".text", false, true},
        {".text", ".note.stapsdt", true, false},    {".text", ".data", false, false},
        {".note.stapsdtx", ".probe", false, false},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct elf elf;
        struct binary binary;
        elf_open(&elf);
        put_sections(&elf, cases[i].first, cases[i].second);
        assert_int_equal(open_elf(&binary, &elf), 0);
        assert_true(binary.has_sections);
        assert_int_equal(binary.has_notes, cases[i].has_notes);
        assert_int_equal(binary.has_semaphores, cases[i].has_semaphores);
        binary_close(&binary);
    }
}

/* A file without a valid section table is still a program. */
static void section_table_can_be_missing(void **state)
{
    struct elf elf, broken;
    struct binary binary;

    (void)state;
    elf_open(&elf);
    assert_int_equal(open_elf(&binary, &elf), 0);
    assert_false(binary.has_sections);
    binary_close(&binary);
    put_sections(&elf, ".note.stapsdt", ".probes");
    for (size_t i = 0; i != 6; ++i) {
        broken = elf;
        if (i == 0)
            broken.header.e_shstrndx = 4;
        else if (i == 1)
            broken.header.e_shoff = 1 << 20;
        else if (i == 2)
            broken.header.e_shentsize = 1;
        else if (i == 3)
            broken.sections[1].sh_size = UINT64_MAX;
        else if (i == 4)
            broken.sections[1].sh_offset = UINT64_MAX;
        else
            broken.sections[1].sh_size = 0;
        assert_int_equal(open_elf(&binary, &broken), 0);
        assert_false(binary.has_sections || binary.has_notes || binary.has_semaphores);
        binary_close(&binary);
    }
    broken = elf; /* names outside of the file, or without a NUL */
    broken.sections[2].sh_name = UINT32_MAX;
    broken.sections[1].sh_size = broken.sections[3].sh_name + 4;
    assert_int_equal(open_elf(&binary, &broken), 0);
    assert_true(binary.has_sections);
    assert_false(binary.has_notes || binary.has_semaphores);
    binary_close(&binary);
}

static void other_files_are_refused(void **state)
{
    struct elf elf, broken;
    struct binary binary;

    (void)state;
    elf_open(&elf);
    for (size_t size = 0; size < offsetof(struct elf, segments) + 2 * sizeof(Elf64_Phdr); ++size) {
        assert_int_equal(open_part(&binary, &elf, size), -1);
        binary_close(&binary);
    }
    for (size_t i = 0; i != 7; ++i) {
        broken = elf;
        if (i == 0)
            broken.header.e_ident[0] = 'e';
        else if (i == 1)
            broken.header.e_ident[EI_CLASS] = ELFCLASS32;
        else if (i == 2)
            broken.header.e_ident[EI_DATA] ^= ELFDATA2LSB ^ ELFDATA2MSB;
        else if (i == 3)
            broken.header.e_phentsize = 1;
        else if (i == 4)
            broken.header.e_phoff = UINT64_MAX;
        else if (i == 5)
            broken.header.e_phnum = 0;
        else
            broken.segments[0].p_type = broken.segments[1].p_type = PT_NOTE;
        assert_int_equal(open_elf(&binary, &broken), -1);
        binary_close(&binary);
    }
}

/* Finds the version in a file with this text at an offset. */
static void check_version(uint64_t offset, const char *text, const char *expected)
{
    char version[32] = "";
    int fd = memfd_create("binary", MFD_CLOEXEC);

    assert_int_equal(pwrite(fd, text, strlen(text) + 1, (off_t)offset), strlen(text) + 1);
    assert_int_equal(binary_find_version(fd, version, sizeof(version)), expected != NULL ? 0 : -1);
    check_string(text, version, expected != NULL ? expected : "");
    close(fd);
}

static void versions_are_found(void **state)
{
    (void)state;
    check_version(0, "h2o/2.2.5", "2.2.5");
    check_version(1000, "server: h2o/2.3.0-DEV@0123abc", "2.3.0-DEV");
    check_version(77, "h2o/h2o.conf /etc/h2o/ h2o/2 h2o/2. h2o/10 h2o/2.2.6, and more", "2.2.6");
    for (uint64_t before = 1; before != 16; ++before) /* across the end of a read block */
        check_version((1 << 20) - before, "h2o/2.2.5", "2.2.5");
    check_version((63 << 20) + 12345, "h2o/2.2.5", "2.2.5");
    check_version((65 << 20) + 12345, "h2o/2.2.5", NULL);
    check_version(0, "h2o version of none", NULL);
    check_version(0, "", NULL);
    check_version(0, "h2o/2.2.55555555555555555555555555555555555",
                  "2.2.555555555555555555555555555");
}

static void releases_before_probes(void **state)
{
    static const char *const before[] = {"1.7.3", "2.0.0",       "2.2.5",
                                         "2.2.6", "2.3.0-beta1", "2.3.0-beta2"};
    static const char *const not_before[] = {"2.3.0-DEV", "2.3.0", "2.4.0", "3.0.0", "10.1", "x"};

    (void)state;
    for (size_t i = 0; i != sizeof(before) / sizeof(before[0]); ++i)
        assert_true(binary_predates_probes(before[i]));
    for (size_t i = 0; i != sizeof(not_before) / sizeof(not_before[0]); ++i)
        assert_false(binary_predates_probes(not_before[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_is_found_by_segments),
        cmocka_unit_test(semaphores_are_found_by_segments),
        cmocka_unit_test(sections_show_probes),
        cmocka_unit_test(section_table_can_be_missing),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(versions_are_found),
        cmocka_unit_test(releases_before_probes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
