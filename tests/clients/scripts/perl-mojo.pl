use v5.24;
use warnings;
use Mojo::IOLoop;
use Mojo::JSON qw(encode_json);
use Mojo::UserAgent;
use Mojo::Util qw(decode);

$| = 1;
my ($url, $offer, @texts) = map { decode 'UTF-8', $_ } @ARGV;
my @rest = @texts;
sub say_json { say encode_json shift }

my $agent = Mojo::UserAgent->new;
$agent->websocket($url => ($offer ? [$offer] : ()) => sub {
  my ($agent, $socket) = @_;
  die $socket->res->error->{message} // 'no WebSocket', "\n" unless $socket->is_websocket;
  say_json($socket->protocol // '');
  my $next = sub { @rest ? $socket->send(shift @rest) : $socket->finish };
  $socket->on(message => sub { say_json $_[1]; $next->() });
  $socket->on(finish => sub { say_json $_[1] });
  # `finish` comes before the close frame has been written.
  Mojo::IOLoop->stream($socket->connection)->on(close => sub { Mojo::IOLoop->stop });
  $next->() if @texts;
});
Mojo::IOLoop->singleton->reactor->on(error => sub { warn $_[1]; exit 1 });
Mojo::IOLoop->start;
