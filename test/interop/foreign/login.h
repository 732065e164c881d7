// How a program logs in at a gateway's plain RPC endpoint; see schema/bootstrap.capnp.
#pragma once
#include "bootstrap.capnp.h"
#include "hmac-sha256.h"
#include <fstream>
#include <iterator>
#include <kj/debug.h>
#include <string>

// What a program is told on its command line: <address> <name> none | token <token> | secret <secret> <namespace>
struct Login {
  std::string address, name, kind, secret, nameSpace;

  Login(int argc, char** argv) {
    KJ_REQUIRE(argc >= 4, "usage: <address> <name> none | token <token> | secret <secret> <namespace>");
    address = argv[1], name = argv[2], kind = argv[3];
    if (argc > 4) secret = argv[4];
    if (argc > 5) nameSpace = argv[5];
  }
};

inline kj::ArrayPtr<const kj::byte> bytesOf(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

inline std::string textOf(capnp::Data::Reader data) {
  return std::string(reinterpret_cast<const char*>(data.begin()), data.size());
}

// A credential for one login. `role` is "worker" or "client". Returns what the gateway has to prove in return, or "".
inline std::string fillCredential(Credential::Builder credential, const Login& login, const char* role,
                                  Bootstrap::Client bootstrap, kj::WaitScope& waitScope) {
  credential.setName(login.name.c_str());
  if (login.kind == "none") {
    credential.setNone();
    return "";
  }
  if (login.kind == "token") {
    credential.setToken(login.secret.c_str());
    return "";
  }
  auto challenge = bootstrap.challengeRequest().send().wait(waitScope);
  std::string ownNonce(32, '\0');
  std::ifstream("/dev/urandom", std::ios::binary).read(&ownNonce[0], ownNonce.size());
  const auto proof = [&](const std::string& context) {
    const std::string parts[] = {context, login.nameSpace, challenge.getGateway().cStr(), "rpc:" + login.name,
                                 textOf(challenge.getNonce()), ownNonce};
    std::string text;
    for (const std::string& part : parts) {
      for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(part.size() >> shift);
      text += part;
    }
    return hmacSha256(login.secret, text);
  };
  auto join = credential.initJoin();
  join.setWorkerNonce(bytesOf(ownNonce));
  join.setProof(bytesOf(proof(std::string("capmesh/join/1/") + role)));
  return proof("capmesh/join/1/gateway");
}

inline void requireProof(const std::string& expected, capnp::Data::Reader proof) {
  KJ_REQUIRE(expected.empty() || textOf(proof) == expected, "this is not the gateway: it does not know the join secret");
}
