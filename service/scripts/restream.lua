-- Put an event that waits for its fan-out back into its stream, unless it was fanned out meanwhile.
-- ARGV     event, stream entry as it was read, type, channel, the job's own endpoint or ''
-- returns  1 put back · 0 nothing to do
local key = K.event(ARGV[1])
local ws, entry, seq = unpack(redis.call('HMGET', key, 'ws', 'entry', 'seq'))
if entry ~= ARGV[2] then return 0 end
redis.call('XDEL', K.stream(ws), entry)
local rev = redis.call('HGET', K.workspace(ws), 'endpoints') or '0'
local fields = {'e', ARGV[1], 's', seq, 't', ARGV[3], 'c', ARGV[4], 'w', ARGV[5], 'r', rev}
redis.call('HSET', key, 'entry', redis.call('XADD', K.stream(ws), '*', unpack(fields)))
return 1
