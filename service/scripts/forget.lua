-- Remove an event with its deliveries.
-- ARGV     event, and 1 to do so although something of it is owed: what is under way then ends as it may
-- returns  1 removed · 0 something is owed, or there is none
local event, key, now = ARGV[1], K.event(ARGV[1]), clock()
local words, ws, open, entry = redis.call('HGETALL', key), nil, 0, nil
local eps = {}
for i = 1, #words, 2 do
  local name = words[i]
  if name == 'ws' then ws = words[i + 1] end
  if name == 'open' then open = tonumber(words[i + 1]) end
  if name == 'entry' then entry = words[i + 1] end
  if string.sub(name, 1, 3) == 'ep_' and string.find(words[i + 1], '^[pr]') then eps[#eps + 1] = name end
end
redis.call('ZREM', K.ODD_EVENTS, event)
if not ws then return 0 end
if open > 0 and ARGV[2] ~= '1' then
  redis.call('ZADD', K.ODD_EVENTS, now, event)
  return 0
end
if entry then
  redis.call('XACK', K.stream(ws), K.GROUP, entry)
  redis.call('XDEL', K.stream(ws), entry)
end
redis.call('ZREM', K.unfanned(ws), event)
redis.call('ZREM', K.events(ws), event)
redis.call('ZREM', K.OPEN_EVENTS, event)
redis.call('DEL', key)
for _, ep in ipairs(eps) do drop(ws, ep, event, now) end
return 1
