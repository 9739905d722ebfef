// One step of Nesterov SGD over all weights in one pass.
#include "sgd.h"

namespace ofa {
namespace {
// Floats that one thread updates at a time: small enough to spread evenly, large enough for the call.
constexpr int64_t CHUNK = 1 << 14;
}  // namespace

void sgd(const std::vector<SgdSlot>& slots, float scale, float rate, float momentum, float average_decay) {
    struct Piece {
        const SgdSlot* slot;
        int64_t begin, count;
    };
    std::vector<Piece> pieces;
    for (const SgdSlot& slot : slots) {
        for (int64_t begin = 0; begin < slot.count; begin += CHUNK) {
            pieces.push_back({&slot, begin, std::min(CHUNK, slot.count - begin)});
        }
    }
    const Kernels& table = kernels();
    at::parallel_for(0, int64_t(pieces.size()), 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const auto [slot, first, count] = pieces[size_t(i)];
            table.sgd(size_t(count), slot->weight + first, slot->velocity + first,
                      slot->gradient != nullptr ? slot->gradient + first : nullptr, scale, rate, momentum,
                      slot->decay,
                      slot->average != nullptr ? slot->average + first : nullptr, average_decay);
        }
    });
}
}  // namespace ofa
