/* conf_secret: finds the key of a provider, in the environment or in a file, and the certificates
 * of the authorities it trusts; see conf_read.h.
 *
 * What never happens here: a key in a message. Even the text of api_key_env is not repeated unless
 * it is the name of a variable, because people paste the key itself there.
 */
#include "config.h"

#include "conf_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_file.h"
#include "conf_value.h"

#define MAX_KEY 4096 /* bytes */

/* Visible ASCII only: it becomes part of a header. */
static bool is_header_safe(struct bytes secret) {
    for (size_t i = 0; i < secret.size; i++) {
        if (secret.data[i] <= ' ' || secret.data[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* A line of an .env file instead of the key. */
static bool is_assignment(struct bytes secret) {
    size_t size = 0;
    while (size < secret.size &&
           ((secret.data[size] >= 'A' && secret.data[size] <= 'Z') || secret.data[size] == '_')) {
        size++;
    }
    return size > 4 && size < secret.size && secret.data[size] == '=' &&
           bytes_find(secret, '_') < size;
}

static void keep(struct conf_reader *reader, const struct conf_node *at, const char *what,
                 struct bytes secret, struct conf_provider *provider) {
    if (secret.size > MAX_KEY) {
        conf_complain(reader, at, "%s: the key is longer than %d bytes", what, MAX_KEY);
    } else if (is_assignment(secret)) {
        conf_complain(reader, at, "%s: it looks like NAME=key; only the key belongs there", what);
    } else if (!is_header_safe(secret)) {
        conf_complain(reader, at, "%s: the key contains a blank, line break or special character",
                      what);
    } else if (secret.size > 0) {
        provider->api_key = arena_copy(reader->arena, secret).data;
        reader->no_memory = reader->no_memory || provider->api_key == NULL;
    }
}

static void read_environment(struct conf_reader *reader, const struct conf_node *at,
                             struct conf_provider *provider) {
    const char *name = provider->api_key_env;
    if (!conf_env_name_is_valid(bytes_from_str(name))) {
        conf_complain(reader, at,
                      "api_key_env: this is not the name of an environment variable "
                      "(the key itself never stands in this file)");
        return;
    }
    const char *value = getenv(name);
    if (value != NULL && value[0] != '\0') {
        keep(reader, at, "api_key_env", bytes_from_str(value), provider);
    } else if (!provider->simulate_without_key) {
        CONF_COMPLAIN_UNSET(reader, at,
                            "api_key_env: %s is not set in the environment; set it, name an "
                            "api_key_file, or say simulate_without_key: yes",
                            name);
    }
}

/* Opens a regular file that is nobody else's business; -1 after a complaint. A file that does not
 * exist is no error when the provider may be simulated. */
static int open_private(struct conf_reader *reader, const struct conf_node *at,
                        const struct conf_provider *provider) {
    struct stat status;
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(provider->api_key_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd == -1) {
        if (errno != ENOENT || !provider->simulate_without_key) {
            conf_complain(reader, at, "api_key_file: cannot be opened: %s", strerror(errno));
        }
        return -1;
    }
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode)) {
        conf_complain(reader, at, "api_key_file: is not a regular file");
    } else if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        conf_complain(reader, at, "api_key_file: mode %04o lets others in, it must be 0600",
                      (unsigned)(status.st_mode & 07777));
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

static void read_file(struct conf_reader *reader, const struct conf_node *at,
                      struct conf_provider *provider) {
    char content[MAX_KEY + 3]; /* room for "\r\n" and for one byte too much */
    size_t size = 0;
    ssize_t got = 0;
    int fd = open_private(reader, at, provider);
    if (fd == -1) {
        return;
    }
    while (size < sizeof(content) && (got = read(fd, content + size, sizeof(content) - size)) > 0) {
        size += (size_t)got;
    }
    close(fd);
    if (got == -1) {
        conf_complain(reader, at, "api_key_file: cannot be read: %s", strerror(errno));
    } else {
        size -= size > 0 && content[size - 1] == '\n';
        size -= size > 0 && content[size - 1] == '\r';
        if (size == 0 && !provider->simulate_without_key) {
            conf_complain(reader, at, "api_key_file: the file is empty");
        }
        keep(reader, at, "api_key_file", bytes_make(content, size), provider);
    }
    explicit_bzero(content, sizeof(content));
}

void conf_read_secret(struct conf_reader *reader, const struct conf_node *key,
                      struct conf_provider *provider) {
    const struct conf_node *env = conf_tree_find(key->value, "api_key_env");
    const struct conf_node *file = conf_tree_find(key->value, "api_key_file");
    bool has_env = provider->api_key_env[0] != '\0';
    bool has_file = provider->api_key_file[0] != '\0';
    if (has_env && has_file) {
        conf_complain(reader, file,
                      "api_key_file: api_key_env is given too, one of them is enough");
    } else if (has_env) {
        read_environment(reader, env->value, provider);
    } else if (has_file) {
        read_file(reader, file->value, provider);
    }
}

/* Kept as text, because workers run as another user and must not depend on a file that may change
 * under them. Whether the certificates are any good is for TLS to say; that there is one, for us.
 */
void conf_read_authorities(struct conf_reader *reader, const struct conf_node *key,
                           struct conf_provider *provider) {
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    const struct conf_node *given = conf_tree_find(key->value, "ca_file");
    if (provider->ca_file[0] == '\0') {
        return;
    }
    struct buf text;
    buf_init(&text, 0);
    const char *reason = conf_file_read(provider->ca_file, &text);
    if (reason != NULL) {
        conf_complain(reader, given->value, "ca_file: cannot be read: %s", reason);
    } else if (memmem(text.data, text.size, begin, sizeof(begin) - 1) == NULL) {
        conf_complain(reader, given->value, "ca_file: there is no PEM certificate in it");
    } else {
        provider->ca_pem = arena_copy(reader->arena, buf_bytes(&text));
        reader->no_memory = reader->no_memory || provider->ca_pem.data == NULL;
    }
    buf_free(&text);
}
