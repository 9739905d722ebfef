// Where processes that train together find each other: PyTorch's own store over TCP (c10d::TCPStore), which launchers such
// as torchrun may serve themselves.
#pragma once

#include <cstdint>
#include <string>

namespace ofa {
struct Store;

Store* open_store(const std::string& host, uint16_t port, bool serves, int64_t seconds);
void close_store(Store* store);
void store_set(Store* store, const std::string& key, const std::string& value);
// Waits until another process has set it.
std::string store_get(Store* store, const std::string& key);
}  // namespace ofa
