-- When an endpoint may be tried, for every script that changes what waits for it.
-- What is set on it and how it has been doing stand beside its record (`rediskeys.endpoint`).
local SHARE, SLOW_START, FAILURES_THAT_OPEN, FIRST_REST, LONGEST_REST = 64, 8, 5, 1000, 60000

local function pace(ep)
  local v = redis.call(
    'HMGET', K.endpoint(ep),
    'rev', 'ws', 'off', 'ordered', 'rate', 'tat', 'fails', 'probe', 'rest', 'at_once', 'next', 'halted'
  )
  return {
    known = v[1] and true, listed = v[2] and true, off = v[3] == '1', ordered = v[4] == '1', rate = tonumber(v[5] or '0'),
    tat = tonumber(v[6] or '0'), fails = tonumber(v[7] or '0'), probe = tonumber(v[8] or '0'), rest = tonumber(v[9] or '0'),
    at_once = tonumber(v[10] or SLOW_START), next = tonumber(v[11] or '0'), halted = v[12] == '1',
  }
end

local function is_open(s) return s.fails >= FAILURES_THAT_OPEN and not s.ordered end

-- How many more attempts there may be at this moment, of at most ``share`` at once.
local function room(s, flying, now, share)
  if s.off or not s.known then return 0 end
  local free = s.ordered and 1 - flying or share - flying
  if s.listed and not s.ordered then free = math.min(free, s.at_once - flying) end
  if is_open(s) then free = math.min(free, now >= s.probe and 1 - flying or 0) end
  if s.rate > 0 then
    -- The theoretical arrival time of the next (GCRA); what was not used is kept for a tenth of a second.
    local each = 1000 / s.rate
    s.tat = math.max(s.tat, now - math.max(0, 100 - each))
    free = math.min(free, now >= s.tat and math.floor((now - s.tat) / each) + 1 or 0)
  end
  return math.max(0, free)
end

-- When it is to be tried next: nil nothing waits or nothing may be sent, '+inf' an outcome decides, else ms.
local function next_try(ep, s, flying, now, share)
  if s.off or not s.known then return nil end
  local first
  if s.ordered then
    if redis.call('EXISTS', K.line(ep)) == 0 then return nil end
    first = s.next
  else
    local fresh = redis.call('ZRANGE', K.wait(ep), 0, 0, 'WITHSCORES')[2]
    local late = redis.call('ZRANGE', K.late(ep), 0, 0, 'WITHSCORES')[2]
    if not (fresh or late) then return nil end
    first = math.min(tonumber(fresh or 'inf'), tonumber(late or 'inf'))
  end
  local most = (s.ordered or is_open(s)) and 1 or s.listed and math.min(share, s.at_once) or share
  if flying >= most then return '+inf' end
  if is_open(s) then first = math.max(first, s.probe) end
  if s.rate > 0 then first = math.max(first, math.ceil(s.tat)) end
  return first
end

local function flying(ws, ep) return tonumber(redis.call('HGET', K.running(ws), ep) or '0') end

-- It is deleted: what still waits for it is the clock's to cancel.
local function leave(ep, now)
  if redis.call('EXISTS', K.wait(ep), K.late(ep), K.line(ep)) > 0 then redis.call('ZADD', K.LEAVING, 'NX', now, ep) end
end

-- Put the endpoint where its next try belongs, or take it away when there is none. Whoever can be tried at once
-- keeps its turn, unless it was just ``served``: then it stands behind everybody whose turn has come.
local function place(ws, ep, now, s, share, served)
  s = s or pace(ep)
  local at = next_try(ep, s, flying(ws, ep), now, share or SHARE)
  if not at then
    redis.call('ZREM', K.due(ws), ep)
    if not s.known then leave(ep, now) end
  elseif at == '+inf' then
    redis.call('ZADD', K.due(ws), at, ep)
  else
    if at > now or served then
      redis.call('ZADD', K.due(ws), math.max(at, now), ep)
    else
      redis.call('ZADD', K.due(ws), 'LT', now, ep)
    end
    redis.call('ZADD', K.TURNS, 'LT', math.max(at, now), ws)
  end
end

-- A delivery is owed no more: out of what waits for the endpoint. Whoever was behind it in an ordered one is next.
local function drop(ws, ep, event, now)
  local s = pace(ep)
  redis.call('ZREM', K.wait(ep), event)
  redis.call('ZREM', K.late(ep), event)
  if s.next > 0 and redis.call('ZRANK', K.line(ep), event) == 0 then
    s.next = 0
    redis.call('HDEL', K.endpoint(ep), 'next')
  end
  redis.call('ZREM', K.line(ep), event)
  place(ws, ep, now, s)
end
