#pragma once
#include <cstddef>

// What somebody else shared with us is given back in threads of their own: the last to close a socket may have to linger
// (socket(7), SO_LINGER), who closes a file of FUSE waits for its server, and a gigabyte of memory takes most of a second.
namespace release {

void Close(int fd);
// A UNIX socket of ours: the other side knows at once. What it sent, and nobody received, may hold descriptors.
void CloseSocket(int fd);
void Unmap(void* start, size_t length);

}  // namespace release
