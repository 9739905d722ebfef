#include "store.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <vector>

namespace ofa {
struct Store {
    c10::intrusive_ptr<c10d::TCPStore> client;
};

Store* open_store(const std::string& host, uint16_t port, bool serves, int64_t seconds) {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = std::chrono::seconds(seconds);
    return new Store{c10::make_intrusive<c10d::TCPStore>(host, options)};
}

void close_store(Store* store) { delete store; }

void store_set(Store* store, const std::string& key, const std::string& value) {
    store->client->set(key, std::vector<uint8_t>(value.begin(), value.end()));
}

std::string store_get(Store* store, const std::string& key) {
    const std::vector<uint8_t> value = store->client->get(key);
    return {value.begin(), value.end()};
}
}  // namespace ofa
