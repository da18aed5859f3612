-- Cancel one delivery, if it waits.
-- ARGV     workspace, endpoint, event
-- returns  the letter of its state as it was ('': there is no such delivery), and 1 if it is under way just now
local ws, ep, event = ARGV[1], ARGV[2], ARGV[3]
local key, now = K.event(event), clock()
local owner, line = unpack(redis.call('HMGET', key, 'ws', ep))
local state, attempts, holder, log = string.match(line or '', '^(%a)|(%d+)|([^|]*)|(.*)$')
if owner ~= ws or not state then return {'', 0} end
if holder ~= '' then return {state, 1} end
if state ~= 'p' and state ~= 'r' then return {state, 0} end
redis.call('HSET', key, ep, 'c|' .. attempts .. '||' .. log)
if redis.call('HINCRBY', key, 'open', -1) <= 0 then redis.call('ZREM', K.OPEN_EVENTS, event) end
drop(ws, ep, event, now)
return {state, 0}
