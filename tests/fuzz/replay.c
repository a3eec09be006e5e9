/* replay: the main of a fuzz target in make check, where there is no libFuzzer.
 *
 * Runs LLVMFuzzerTestOneInput once over every file of the directories named as arguments; without
 * arguments over the target's own corpus, $srcdir/tests/fuzz/corpus/NAME for a program fuzz_NAME.
 * Fails when there is no file at all: a corpus that went missing must not look like success. Each
 * input is a heap copy of exactly its size, so that a sanitizer sees the first byte read too many.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void give_up(const char *path, const char *what) {
    fprintf(stderr, "%s: ", path);
    perror(what);
    exit(EXIT_FAILURE);
}

static void replay_file(const char *path, size_t size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        give_up(path, "fopen");
    }
    uint8_t *data = malloc(size);
    if (size > 0 && (data == NULL || fread(data, 1, size, file) != size)) {
        give_up(path, "read");
    }
    fclose(file);
    if (LLVMFuzzerTestOneInput(data, size) != 0) {
        fprintf(stderr, "%s: refused by the target\n", path);
        exit(EXIT_FAILURE);
    }
    free(data);
}

/* Returns the number of files. */
static unsigned replay_directory(const char *path) {
    struct dirent **entries;
    unsigned files = 0;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count == -1) {
        give_up(path, "scandir");
    }
    for (int i = 0; i < count; i++) {
        char name[4096];
        struct stat info;
        int length = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (length < 0 || (size_t)length >= sizeof(name) || stat(name, &info) == -1) {
            give_up(entries[i]->d_name, "stat");
        }
        if (S_ISREG(info.st_mode)) {
            replay_file(name, (size_t)info.st_size);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    if (files == 0) {
        fprintf(stderr, "%s: no input files\n", path);
        exit(EXIT_FAILURE);
    }
    return files;
}

int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash != NULL ? slash + 1 : argv[0];
    unsigned files = 0;
    for (int i = 1; i < argc; i++) {
        files += replay_directory(argv[i]);
    }
    if (argc == 1) {
        char path[4096];
        const char *srcdir = getenv("srcdir");
        if (strncmp(name, "fuzz_", 5) != 0) {
            fprintf(stderr, "%s: name the directories\n", name);
            return EXIT_FAILURE;
        }
        snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", srcdir != NULL ? srcdir : ".",
                 name + 5);
        files = replay_directory(path);
    }
    printf("%s: %u inputs\n", name, files);
    return EXIT_SUCCESS;
}
