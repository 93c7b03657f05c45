"""A TCP connection that a program on the host opens, its bytes over stdin and stdout: where sshd itself opens none."""

from __future__ import annotations

from towline.commands.shell import Command, script

# $1 address, $2 port, $3 seconds to connect within. The first line of stdout is `open PROGRAM`, `refused WHY`, `late`, or `none`
# where the host has none of the programs; `tried PROGRAM` where only the end of stdout tells that there is no connection. After it
# come the bytes that arrive. It ends with the connection, or with stdin.
_PYTHON = """
import os, socket, sys, threading
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))
except socket.timeout:
    os.write(1, b"late\\n"); os._exit(0)
except OSError as e:
    os.write(1, ("refused %s\\n" % (e.strerror or e)).encode()); os._exit(0)
s.settimeout(None)
os.write(1, b"open python3\\n")
def up():
    for d in iter(lambda: os.read(0, 65536), b""):
        s.sendall(d)
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
for d in iter(lambda: s.recv(65536), b""):
    while d:
        d = d[os.write(1, d):]
os._exit(0)
"""
_PERL = """
my ($h, $p, $t) = @ARGV;
my $s = IO::Socket::IP->new(PeerHost => $h, PeerPort => $p, Timeout => $t);
if (!$s) { my $e = $@ || $!; $e =~ s/\\s+/ /g; print $e =~ /timed? ?out/i ? "late\\n" : "refused $e\\n"; exit }
$| = 1;
print "open perl\\n";
my $all = IO::Select->new($s, \\*STDIN);
while (1) {
    for my $r ($all->can_read) {
        sysread($r, my $b, 65536) or exit;
        my $to = $r == $s ? \\*STDOUT : $s;
        while (length $b) { my $n = syswrite($to, $b); defined $n or exit; substr($b, 0, $n) = "" }
    }
}
"""
_BASH = """
{ exec 3<>"/dev/tcp/$1/$2"; } 2>/dev/null || { echo "refused by the address"; exit; }
echo "open bash"
{ cat <&3; kill $$; } &
exec cat >&3
"""
_RELAY = """
if command -v python3 >/dev/null 2>&1; then exec python3 -c "$4" "$1" "$2" "$3"; fi
if perl -MIO::Socket::IP -MIO::Select -e 1 2>/dev/null; then
    exec perl -MIO::Socket::IP -MIO::Select -e "$5" "$1" "$2" "$3"
fi
if bash -c : 2>/dev/null; then exec bash -c "$6" bash "$1" "$2"; fi
for nc in nc 'busybox nc'; do
    command -v "${nc%% *}" >/dev/null 2>&1 || continue
    echo "tried $nc"
    exec $nc -w "$3" "$1" "$2" 2>/dev/null
done
echo none
"""


def relay(address: str, port: int, seconds: float) -> Command:
    """Connects to address:port within whole seconds, and relays."""
    whole = str(max(1, round(seconds)))
    return script(_RELAY, address, str(port), whole, _PYTHON, _PERL, _BASH)
