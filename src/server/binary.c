#include "server/binary.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE_ORDER ELFDATA2LSB
#else
#define NATIVE_ORDER ELFDATA2MSB
#endif

/* No linker writes a larger table. */
#define TABLE_MAX (16 << 20)

static bool read_at(int fd, uint64_t offset, void *bytes, size_t size)
{
    return offset <= INT64_MAX && pread(fd, bytes, size, (off_t)offset) == (ssize_t)size;
}

/* Reads a table into new memory. Returns NULL if it cannot be read, or is empty. */
static void *read_table(int fd, uint64_t offset, uint64_t size)
{
    void *table;

    if (size == 0 || size > TABLE_MAX)
        return NULL;
    table = memory_grow(NULL, (size_t)size, 1);
    if (!read_at(fd, offset, table, (size_t)size)) {
        free(table);
        return NULL;
    }
    return table;
}

static int read_segments(struct binary *binary, int fd, const Elf64_Ehdr *header)
{
    Elf64_Phdr *table;

    if (header->e_phentsize != sizeof(*table))
        return -1;
    table = read_table(fd, header->e_phoff, (uint64_t)header->e_phnum * sizeof(*table));
    if (table == NULL)
        return -1;
    binary->segments = memory_grow(NULL, header->e_phnum, sizeof(binary->segments[0]));
    for (size_t i = 0; i != header->e_phnum; ++i) {
        if (table[i].p_type == PT_LOAD && table[i].p_filesz != 0)
            binary->segments[binary->num_segments++] = (struct binary_segment){
                .address = table[i].p_vaddr,
                .size = table[i].p_filesz,
                .offset = table[i].p_offset,
                .executable = (table[i].p_flags & PF_X) != 0,
                .writable = (table[i].p_flags & PF_W) != 0,
            };
    }
    free(table);
    return binary->num_segments != 0 ? 0 : -1;
}

static void note_section(struct binary *binary, const char *name)
{
    binary->has_notes |= strcmp(name, ".note.stapsdt") == 0;
    binary->has_semaphores |= strcmp(name, ".probes") == 0;
}

static void read_sections(struct binary *binary, int fd, const Elf64_Ehdr *header)
{
    Elf64_Shdr *table = NULL;
    char *names = NULL;
    uint64_t size = 0;

    if (header->e_shentsize == sizeof(*table) && header->e_shstrndx < header->e_shnum)
        table = read_table(fd, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*table));
    if (table != NULL) {
        size = table[header->e_shstrndx].sh_size;
        names = read_table(fd, table[header->e_shstrndx].sh_offset, size);
    }
    if (names != NULL) {
        binary->has_sections = true;
        names[size - 1] = '\0';
        for (size_t i = 0; i != header->e_shnum; ++i) {
            if (table[i].sh_name < size)
                note_section(binary, names + table[i].sh_name);
        }
    }
    free(names);
    free(table);
}

int binary_open(struct binary *binary, int fd)
{
    Elf64_Ehdr header;

    *binary = (struct binary){0};
    if (!read_at(fd, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != NATIVE_ORDER ||
        read_segments(binary, fd, &header) != 0)
        return -1;
    read_sections(binary, fd, &header);
    return 0;
}

void binary_close(struct binary *binary)
{
    free(binary->segments);
}

int binary_find_code(const struct binary *binary, uint64_t address, uint64_t *offset)
{
    for (size_t i = 0; i != binary->num_segments; ++i) {
        const struct binary_segment *segment = &binary->segments[i];
        if (segment->executable && address >= segment->address &&
            address - segment->address < segment->size) {
            *offset = address - segment->address + segment->offset;
            return 0;
        }
    }
    return -1;
}

int binary_find_semaphore(const struct binary *binary, uint64_t address, uint64_t *offset)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    for (size_t i = 0; i != binary->num_segments; ++i) {
        const struct binary_segment *segment = &binary->segments[i];
        uint64_t into = address - segment->address;
        /* the last page is mapped completely, also after the end of the segment */
        if (!segment->writable || address < segment->address ||
            into >= segment->size + (page - (segment->address + segment->size) % page) % page)
            continue;
        *offset = segment->offset + into;
        return *offset != 0 && *offset % sizeof(uint16_t) == 0 ? 0 : -1;
    }
    return -1;
}

/* Reads the version after "h2o/", if there is one. */
static bool copy_version(const char *text, size_t available, char *version, size_t size)
{
    size_t length = 0;

    while (length != available && length + 1 < size &&
           (isalnum((unsigned char)text[length]) || text[length] == '.' || text[length] == '-'))
        ++length;
    if (length < 3 || !isdigit((unsigned char)text[0]) || text[1] != '.' ||
        !isdigit((unsigned char)text[2]))
        return false;
    memcpy(version, text, length);
    version[length] = '\0';
    return true;
}

int binary_find_version(int fd, char *version, size_t size)
{
    enum { CHUNK = 1 << 20, OVERLAP = 64, CHUNKS_MAX = 64 };
    static const char mark[] = "h2o/";
    char *bytes = memory_grow(NULL, CHUNK + OVERLAP, 1);
    bool found = false;

    for (size_t nth = 0; nth != CHUNKS_MAX && !found; ++nth) {
        ssize_t got = pread(fd, bytes, CHUNK + OVERLAP, (off_t)nth * CHUNK);
        const char *at = bytes, *end = bytes + (got > 0 ? got : 0);
        while (!found && (at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1)) != NULL) {
            at += sizeof(mark) - 1;
            found = copy_version(at, (size_t)(end - at), version, size);
        }
        if (got < CHUNK)
            break;
    }
    free(bytes);
    return found ? 0 : -1;
}

bool binary_predates_probes(const char *version)
{
    unsigned major = 0, minor = 0;

    if (sscanf(version, "%u.%u", &major, &minor) != 2)
        return false;
    /* the betas of 2.3.0 are from 2018; "2.3.0-DEV" is any later revision */
    return major < 2 || (major == 2 && minor < 3) || strncmp(version, "2.3.0-beta", 10) == 0;
}
