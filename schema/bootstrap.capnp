@0xb2f1c0a96d3e5a04;
# The bootstrap interface: all that a stranger gets on connecting to a gateway.
#
# Authority is a reference. `login` turns a credential into a session, and a session is nothing but the capabilities
# that the credential allows. A worker's session can send offers and speak of the attempts it holds; it can neither
# receive offers nor read tasks. A client's session can submit tasks and speak of them; it cannot send offers.
#
# There are two kinds of transport. Between libp2p peers both ends are authenticated, and only workers log in. Over plain
# Cap'n Proto (a TCP or unix socket, for programs in any language) nobody is: there a peer has the name that its
# credential gives, its id is "rpc:" followed by the name, and it may log in as a worker or as a client:
#   unix socket           `none`: only the gateway's own user can open it, who may do both.
#   TCP, on loopback      `token`: a client, whose session holds what the token can; a worker, if the token can `admin`.
#                         `join`: as a worker; as a client too where the gateway has no token of its own, since its HTTP
#                         API then is open to all on this machine. `none`: refused, also by an open gateway.
# What a token's session gave out ends with the token, at once: calls fail with `failed` (codes `revoked`, `expired`), what
# is pending included; a worker's connection is ended.
# A peer barred by an operator is refused as a worker whatever it proves. A connection that has not logged in for 10 s is
# ended, and so is, past 256 of them, the one that has waited longest; over plain Cap'n Proto it gets one refusal, and then
# has to connect again.
#
# The join secret is proven by both ends and never sent. With || for length-prefixed concatenation (each part preceded
# by its length as a 32-bit big-endian integer):
#   workerProof  = HMAC-SHA256(secret, "capmesh/join/1/worker"  || ns || gatewayPeerId || workerPeerId || gatewayNonce || workerNonce)
#   gatewayProof = HMAC-SHA256(secret, "capmesh/join/1/gateway" || ns || gatewayPeerId || workerPeerId || gatewayNonce || workerNonce)
# A client proves with "capmesh/join/1/client" in place of "…/worker", so that neither proof serves for the other. `secret`
# is its text in UTF-8. Peer ids are those that the transport authenticated, in their base58 text form; where it has
# authenticated none, the gateway's is the one that `challenge` returned, and the worker's (or client's) is "rpc:" and its
# name. The worker proves first, so that a peer that only pretends to be a gateway learns nothing it could use elsewhere.

using OfferSender = import "channel.capnp".OfferSender;
using ClientSession = import "client.capnp".ClientSession;
using AttemptId = import "worker.capnp".AttemptId;
using Outcome = import "worker.capnp".Outcome;
using Output = import "worker.capnp".Output;
using Run = import "worker.capnp".Run;
using WorkerState = import "worker.capnp".WorkerState;

interface Bootstrap {
  challenge @0 () -> (nonce :Data, gateway :Text);
  # A fresh 32-byte nonce for one login on this connection; a later challenge replaces it. `gateway` is the gateway's peer
  # id where the transport has not authenticated it, else empty.

  login @1 (credential :Credential, state :WorkerState) -> (verdict :Verdict);
  # A refusal is a value, not an exception. Logging in again on the same connection replaces the session; logging in on
  # another one with the same peer id, or name, does so too.

  loginClient @2 (credential :Credential) -> (session :ClientSession, proof :Data);
  # `proof` is the gatewayProof when the credential was `join`, else empty. A refusal is an exception, of type `failed` and
  # code `refused`, so that calls can be pipelined on the session. Clients may share a name and have several sessions.
  # Unimplemented where the transport authenticates both ends.
}

struct Credential {
  union {
    none @0 :Void;           # admitted by an open gateway, or once an operator has admitted this peer
    join :group {
      workerNonce @1 :Data;  # 32 bytes
      proof @2 :Data;        # workerProof, or clientProof
    }
    token @3 :Text;          # of the gateway's API; over plain Cap'n Proto only
  }
  name @4 :Text;
  # Over plain Cap'n Proto: what the peer calls itself, 1 to 64 of [A-Za-z0-9._-], the first a letter or digit. A worker
  # keeps its name over restarts: its attempts are found again by it. Of a peer that was authenticated: not looked at.
}

struct Verdict {
  union {
    admitted :group {
      session @0 :WorkerSession;
      proof @1 :Data;        # gatewayProof, when the credential was `join`; else empty
    }
    pending @2 :Text;        # not yet admitted: try again later on this connection; says what an operator has to do
    refused @3 :Text;        # will not be admitted; says why
  }
}

interface WorkerSession {
  # Dropped or disconnected, the worker counts as away; its attempts stay its own for the grace time and the lease.

  offers @0 () -> (sender :OfferSender, leaseMs :UInt64, renewEveryMs :UInt64);

  resume @1 (attempts :List(HeldAttempt)) -> (verdicts :List(ResumeVerdict));
  # Called first on every new session, also with an empty list, with all attempts the worker holds, finished and
  # unacknowledged ones included. Verdicts are in the order of `attempts`. What the gateway believed to be on this worker
  # and is not in the list is lost. Before it, `offers` fails, and so does `renew` of any attempt.

  renew @2 (attempts :List(AttemptId), state :WorkerState) -> (stop :List(AttemptId));
  # Renews the leases of `attempts`; those in `stop` are no longer the worker's: it ends the guest and forgets it.

  drain @3 () -> ();
  # The worker takes no more runs: its offers are gone, and what it holds it will finish or hand back.
}

struct HeldAttempt {
  id @0 :AttemptId;
  run @1 :Run;
  outputOffset @2 :UInt64;     # the first byte of output that the worker still has
}

struct ResumeVerdict {
  union {
    adopt :group {
      output @0 :Output;       # replaces the attempt's earlier output capability
      offset @1 :UInt64;       # durable so far: go on from here
    }
    stop @2 :Text;             # why it is no longer the worker's
  }
}
