#include "store.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

namespace ofa {
namespace {
// c10d logs every attempt to connect that fails, with a stack, as a warning (level 1); what is wrong in the end is in the
// exception. `TORCH_CPP_LOG_LEVEL` of the environment asks for them nevertheless.
class WithoutWarnings {
public:
    WithoutWarnings() : before_(FLAGS_caffe2_log_level) {
        if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = std::max(before_, 2);
    }
    ~WithoutWarnings() { FLAGS_caffe2_log_level = before_; }
    WithoutWarnings(const WithoutWarnings&) = delete;
    WithoutWarnings& operator=(const WithoutWarnings&) = delete;

private:
    int before_;
};
}  // namespace

struct Store {
    c10::intrusive_ptr<c10d::TCPStore> client;
};

Store* open_store(const std::string& host, uint16_t port, bool serves, int64_t seconds) {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = std::chrono::seconds(seconds);
    const WithoutWarnings quiet;
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
