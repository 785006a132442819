// `kill -9` of the launcher means the service: without this the real process would live on and keep the ports.
if (process.channel) {
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel.unref();
}
