/*
 * weft-cni: hands a call of a container runtime to weft's agent on this node (CNI specification 1.1.0).
 *
 * It reads nothing of the network configuration but the two texts that it needs itself: `socket`, where the agent is,
 * and `cniVersion`, for an error of its own. Both are keys of the outermost object: what stands deeper, such as a pod's
 * annotations, is written by others.
 *
 * Request: the fields "1", CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, each with a zero byte after
 * it, then standard input as it came, until the end of the stream. Answer: one digit, the exit status, then what is to
 * be printed. weft/cni/plugin.py is the same in Python, and weft/agent/cni/wire.py the other end.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define VERSIONS "\"0.2.0\", \"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\""
#define NEWEST "1.1.0"
#define OLDEST "0.2.0"
#define SOCKET "/run/weft/cni.sock"
#define TIMEOUT_S 60
#define STDIN_TIMEOUT_MS 10000
#define MAX_STDIN_BYTES (1 << 20)
#define MAX_ANSWER_BYTES (1 << 20)
#define MAX_TEXT_BYTES 256

enum { UNDECODABLE = 6, TRY_AGAIN_LATER = 11, NOT_AVAILABLE = 50 };

static char input[MAX_STDIN_BYTES + 1];
static char answer[MAX_ANSWER_BYTES];
static char version[MAX_TEXT_BYTES] = OLDEST;
static char path[MAX_TEXT_BYTES] = SOCKET;
static const char *command;

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            printf("\\%c", byte);
        else if (byte < 0x20)
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

/* Print an error as the specification has it, and end with status 1. */
static void fail(int code, const char *message, const char *details)
{
    printf("{\"cniVersion\": ");
    print_text(version);
    printf(", \"code\": %d, \"msg\": ", code);
    print_text(message);
    printf(", \"details\": ");
    print_text(details);
    printf("}\n");
    fflush(stdout);
    _exit(1);
}

static void fail_without_agent(const char *details)
{
    char message[MAX_TEXT_BYTES + 64];
    snprintf(message, sizeof message, "weft's agent does not answer at %s", path);
    fail(strcmp(command, "STATUS") ? TRY_AGAIN_LATER : NOT_AVAILABLE, message, details);
}

static size_t read_input(void)
{
    size_t length = 0;
    while (length < sizeof input) {
        struct pollfd ready = {.fd = 0, .events = POLLIN};
        int found = poll(&ready, 1, STDIN_TIMEOUT_MS);
        if (found < 0 && errno == EINTR)
            continue;
        if (found == 0)
            fail(UNDECODABLE, "the network configuration did not end within 10 s", "");
        ssize_t got = read(0, input + length, sizeof input - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            fail(UNDECODABLE, "the network configuration cannot be read", strerror(errno));
        if (got == 0)
            return length;
        length += (size_t)got;
    }
    fail(UNDECODABLE, "the network configuration is longer than 1048576 bytes", "");
    return 0;
}

/* Copy the text that begins after a quote, and return where its closing quote is; NULL if it has none. */
static const char *read_text(const char *at, const char *end, char *into)
{
    size_t length = 0;
    for (; at < end && *at != '"'; at++) {
        if (*at == '\\' && ++at == end)
            return NULL;
        if (length < MAX_TEXT_BYTES - 1)
            into[length++] = *at;
    }
    into[length] = 0;
    return at < end ? at : NULL;
}

/* Find the two texts; return whether the input is one object, as far as its brackets and quotes tell. */
static int scan(const char *at, const char *end)
{
    char text[MAX_TEXT_BYTES], key[MAX_TEXT_BYTES] = "";
    int depth = 0, is_value = 0, ended = 0;
    for (; at < end; at++) {
        switch (*at) {
        case ' ': case '\t': case '\r': case '\n':
            continue;
        case '{': case '[':
            if (ended || (depth == 0 && *at == '['))
                return 0;
            depth++;
            break;
        case '}': case ']':
            if (--depth < 0)
                return 0;
            ended = depth == 0;
            break;
        case '"':
            if (depth == 0)
                return 0;
            if ((at = read_text(at + 1, end, text)) == NULL)
                return 0;
            if (depth == 1 && !is_value)
                strcpy(key, text);
            else if (depth == 1 && !strcmp(key, "socket"))
                strcpy(path, text);
            else if (depth == 1 && !strcmp(key, "cniVersion"))
                strcpy(version, text);
            break;
        case ':':
            is_value |= depth == 1;
            break;
        case ',':
            is_value &= depth != 1;
            break;
        default:
            if (depth == 0)
                return 0;
        }
    }
    return ended;
}

static void send_all(int wire, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(wire, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fail_without_agent(strerror(errno));
        bytes += sent;
        length -= (size_t)sent;
    }
}

static int connect_agent(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    int wire = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof name.sun_path)
        fail_without_agent("the path is too long for a socket");
    strcpy(name.sun_path, path);
    setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(wire, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (wire < 0 || connect(wire, (struct sockaddr *)&name, sizeof name) < 0)
        fail_without_agent(strerror(errno));
    return wire;
}

int main(void)
{
    static const char *const fields[] = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"};
    command = getenv("CNI_COMMAND") ? getenv("CNI_COMMAND") : "";
    if (!strcmp(command, "VERSION")) {
        puts("{\"cniVersion\": \"" NEWEST "\", \"supportedVersions\": [" VERSIONS "]}");
        return 0;
    }
    size_t length = read_input();
    if (!scan(input, input + length))
        fail(UNDECODABLE, "the network configuration is no JSON object", "");
    int wire = connect_agent();
    send_all(wire, "1", 2);
    send_all(wire, command, strlen(command) + 1);
    for (size_t index = 0; index < sizeof fields / sizeof *fields; index++) {
        const char *value = getenv(fields[index]) ? getenv(fields[index]) : "";
        send_all(wire, value, strlen(value) + 1);
    }
    send_all(wire, input, length);
    shutdown(wire, SHUT_WR);
    size_t got = 0;
    while (got < sizeof answer) {
        ssize_t piece = recv(wire, answer + got, sizeof answer - got, 0);
        if (piece < 0 && errno == EINTR)
            continue;
        if (piece < 0)
            fail_without_agent(errno == EAGAIN ? "no answer within 60 s" : strerror(errno));
        if (piece == 0)
            break;
        got += (size_t)piece;
    }
    if (got == 0 || (answer[0] != '0' && answer[0] != '1'))
        fail_without_agent("it ended the connection without an answer");
    fwrite(answer + 1, 1, got - 1, stdout);
    fflush(stdout);
    _exit(answer[0] - '0');
}
