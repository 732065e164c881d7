// The C++ side's figures: `rpc-client <address of a server of interop.capnp>`. Prints one line of JSON: the median latency
// of sequential calls, calls per second with 256 in flight, and MiB per second in chunks of 1 MiB, which are echoed.
#include "interop.capnp.h"
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

using Time = std::chrono::steady_clock;

double secondsSince(Time::time_point start) { return std::chrono::duration<double>(Time::now() - start).count(); }

kj::Promise<void> add(Counter::Client& counter) {
  auto request = counter.addRequest();
  request.setBy(1);
  return request.send().ignoreResult();
}

kj::Promise<void> addUntil(Counter::Client& counter, int& left) {
  if (left-- <= 0) return kj::READY_NOW;
  return add(counter).then([&counter, &left]() { return addUntil(counter, left); });
}

kj::Promise<void> echoUntil(Interop::Client& main, int& left) {
  if (left-- <= 0) return kj::READY_NOW;
  auto request = main.chunkRequest();
  request.initBytes(1 << 20);
  return request.send().ignoreResult().then([&main, &left]() { return echoUntil(main, left); });
}

double perSecond(kj::WaitScope& scope, Counter::Client& counter, int count) {
  auto start = Time::now();
  int left = count;
  kj::Vector<kj::Promise<void>> lanes;
  for (int i = 0; i < 256; i++) lanes.add(addUntil(counter, left));
  kj::joinPromises(lanes.releaseAsArray()).wait(scope);
  return count / secondsSince(start);
}

double mibPerSecond(kj::WaitScope& scope, Interop::Client& main, int count) {
  auto start = Time::now();
  int left = count;
  kj::Vector<kj::Promise<void>> lanes;
  for (int i = 0; i < 4; i++) lanes.add(echoUntil(main, left));
  kj::joinPromises(lanes.releaseAsArray()).wait(scope);
  return count / secondsSince(start);
}

double medianLatencyMs(kj::WaitScope& scope, Counter::Client& counter, int count) {
  std::vector<double> samples;
  for (int i = 0; i < count; i++) {
    auto start = Time::now();
    add(counter).wait(scope);
    samples.push_back(secondsSince(start) * 1000);
  }
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  auto io = kj::setupAsyncIo();
  auto stream = io.provider->getNetwork().parseAddress(argv[1], 0).wait(io.waitScope)->connect().wait(io.waitScope);
  capnp::TwoPartyVatNetwork network(*stream, capnp::rpc::twoparty::Side::CLIENT);
  auto system = capnp::makeRpcClient(network);
  capnp::MallocMessageBuilder arena;
  auto vatId = arena.initRoot<capnp::rpc::twoparty::VatId>();
  vatId.setSide(capnp::rpc::twoparty::Side::SERVER);
  auto main = system.bootstrap(vatId).castAs<Interop>();
  auto counter = main.counterRequest().send().wait(io.waitScope).getCounter();
  perSecond(io.waitScope, counter, 20000);
  std::cout << "{\"latencyMs\":" << medianLatencyMs(io.waitScope, counter, 3000)
            << ",\"callsPerSecond\":" << perSecond(io.waitScope, counter, 60000)
            << ",\"mibPerSecond\":" << mibPerSecond(io.waitScope, main, 128) << "}" << std::endl;
}
