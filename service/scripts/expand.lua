-- Fan-out of one event: a delivery for each endpoint that has none yet.
-- ARGV     workspace, event, stream entry, done (1: nothing follows, acknowledge), endpoint (>endpoint: ordered)...
-- returns  how many deliveries were made
local ws, event, entry, done = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = clock()
local key, made = K.event(event), 0
local ordered, eps = {}, {}
for i = 5, #ARGV do
  local ep = string.match(ARGV[i], '^>?(.*)$')
  eps[i - 4], ordered[ep] = ep, ep ~= ARGV[i]
end
local found = redis.call('HMGET', key, 'ws', 'seq', 'entry', unpack(eps))
-- Several forwarders hear of it, and the first of them does it; but a chunk may also come late, behind the last.
if found[1] and (found[3] or done ~= '1') then
  local idle, busy, lines = {}, {}, {}
  for i, ep in ipairs(eps) do
    if not found[i + 3] then
      local queue = ordered[ep] and K.line(ep) or K.wait(ep)
      redis.call('ZADD', queue, ordered[ep] and found[2] or now, event)
      local to = redis.call('ZCARD', queue) == 1 and idle or busy
      to[#to + 1], to[#to + 2] = now, ep
      lines[2 * made + 1], lines[2 * made + 2] = ep, 'p|0||'
      made = made + 1
    end
  end
  if made > 0 then
    redis.call('HSET', key, unpack(lines))
    -- At once, as far as it is known here; the claim knows what speaks against it, and for whom others wait already
    -- it has said so: those that hang would have to be looked at again for each event.
    if #idle > 0 then redis.call('ZADD', K.due(ws), 'LT', unpack(idle)) end
    if #busy > 0 then redis.call('ZADD', K.due(ws), 'NX', unpack(busy)) end
    redis.call('ZADD', K.TURNS, 'LT', now, ws)
  end
end
local owed = made
if done == '1' then
  redis.call('XACK', K.stream(ws), K.GROUP, entry)
  redis.call('XDEL', K.stream(ws), entry)
  redis.call('ZREM', K.unfanned(ws), event)
  -- Fan-out itself was one of what is owed.
  owed = owed - redis.call('HDEL', key, 'entry')
end
if found[1] and owed ~= 0 and redis.call('HINCRBY', key, 'open', owed) == 0 then
  redis.call('ZREM', K.OPEN_EVENTS, event)
end
return made
