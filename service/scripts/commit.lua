-- One change of one record with everything that follows from it, whole or not at all.
-- KEYS[1]  the record, a hash with rev and tok
-- ARGV     token, number of guards, {kind, a, b} per guard, then ops, each its number of words and the words
-- guards   rev N ''        the record's revision is N (0: it does not exist)
--          absent KEY ''   nothing is there
--          member ZSET M   M is in it
--          set HASH FIELD  the field is 1
--          room LIMIT N    N more bytes of waiting images stay within LIMIT
--          queue LIMIT ''  fewer than LIMIT jobs wait
-- ops      wait WS JOB ORDER · leave JOB · ended WS JOB MS · admit LIMIT · slow LIMIT MS · grow LIMIT · probe
--          event WS JOB EVENT TYPE CHANNEL OWN DOC · deliver WS EVENT DOC ENDPOINT (an event for it alone)
--          place WS ENDPOINT (what is set on it has changed) · any command
-- returns  ok + admitted jobs | again (this token was applied before) | conflict + kind of the guard
local token, at = ARGV[1], 3
local known = redis.call('HMGET', KEYS[1], 'tok', 'rev')
local rev = known[2] or '0'
if known[1] == token then return {'again'} end
for _ = 1, tonumber(ARGV[2]) do
  local kind, a, b = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local good
  if kind == 'rev' then
    good = rev == a
  elseif kind == 'absent' then
    good = redis.call('EXISTS', a) == 0
  elseif kind == 'member' then
    good = redis.call('ZSCORE', a, b) and true or false
  elseif kind == 'set' then
    good = redis.call('HGET', a, b) == '1'
  elseif kind == 'room' then
    good = tonumber(redis.call('GET', K.PENDING_BYTES) or '0') + tonumber(b) <= tonumber(a)
  elseif kind == 'queue' then
    local waiting = redis.call('ZCARD', K.LATER)
    for _, ws in ipairs(redis.call('ZRANGE', K.WAITING, 0, -1)) do
      waiting = waiting + redis.call('ZCARD', K.waiting(ws))
    end
    good = waiting < tonumber(a)
  end
  if not good then return {'conflict', kind} end
  at = at + 3
end

local now = clock()
local result = {'ok'}

local function admit(limit)
  local state = redis.call('HMGET', K.VENDOR, 'unknowns', 'probe', 'window', 'not_before')
  if tonumber(state[4] or '0') > now then return end
  limit = math.min(limit, math.max(1, math.floor(tonumber(state[3] or limit))))
  local paused = tonumber(state[1] or '0') >= 3
  if paused and state[2] ~= '1' then return end
  while paused or redis.call('ZCARD', K.WINDOW) < limit do
    local first = redis.call('ZRANGE', K.WAITING, 0, 0)[1]
    if not first then return end
    local job = redis.call('ZPOPMIN', K.waiting(first))[1]
    if redis.call('EXISTS', K.waiting(first)) == 0 then
      redis.call('ZREM', K.WAITING, first)
    else
      redis.call('ZADD', K.WAITING, redis.call('INCR', K.TURN), first)
    end
    if job then
      redis.call('ZADD', K.WINDOW, now, job)
      result[#result + 1] = job
      redis.call('HSET', BELL[2] .. job, unpack(BELL, 4))
      redis.call('RPUSH', BELL[1], BELL[3] .. job)
      if paused then redis.call('HSET', K.VENDOR, 'probe', job) return end
    end
  end
end

local words = {
  wait = function(ws, job, order)
    redis.call('ZADD', K.waiting(ws), order, job)
    if not redis.call('ZSCORE', K.WAITING, ws) then
      redis.call('ZADD', K.WAITING, redis.call('INCR', K.TURN), ws)
    end
  end,
  -- A 429 halves the window, a burst of them once; nothing is let in for MS.
  slow = function(limit, ms)
    local state = redis.call('HMGET', K.VENDOR, 'window', 'slowed_at')
    if now - tonumber(state[2] or '0') >= 1000 then
      local used = math.min(tonumber(state[1] or limit), redis.call('ZCARD', K.WINDOW) + 1)
      redis.call('HSET', K.VENDOR, 'window', math.max(1, math.floor(used / 2)), 'slowed_at', now)
    end
    -- A shorter wait that is asked for later takes nothing back of a longer one.
    local before = tonumber(redis.call('HGET', K.VENDOR, 'not_before') or '0')
    redis.call('HSET', K.VENDOR, 'not_before', math.max(before, now + ms))
  end,
  -- An accepted job widens it by one for each whole window of them.
  grow = function(limit)
    local window = tonumber(redis.call('HGET', K.VENDOR, 'window') or '0')
    if window > 0 then
      window = window + 1 / window
      if window >= tonumber(limit) then
        redis.call('HDEL', K.VENDOR, 'window', 'slowed_at', 'not_before')
      else
        redis.call('HSET', K.VENDOR, 'window', tostring(window))
      end
    end
  end,
  -- One job may pass a pause, and only one at a time.
  probe = function()
    local probe = redis.call('HGET', K.VENDOR, 'probe')
    if not (probe and redis.call('ZSCORE', K.WINDOW, probe)) then redis.call('HSET', K.VENDOR, 'probe', '1') end
  end,
  leave = function(job) redis.call('ZREM', K.WINDOW, job) end,
  ended = function(ws, job, at_ms)
    for _, list in ipairs({K.WINDOW, K.OPEN_JOBS, K.UNCERTAIN, K.LATER, K.SILENT, K.waiting(ws)}) do
      redis.call('ZREM', list, job)
    end
    redis.call('ZADD', K.FINAL, at_ms, job)
  end,
  admit = function(limit) admit(tonumber(limit)) end,
  event = function(ws, job, event, kind, channel, own, doc)
    local seq = redis.call('HINCRBY', K.workspace(ws), 'seq', 1)
    local rev = redis.call('HGET', K.workspace(ws), 'endpoints') or '0'
    redis.call('ZADD', K.events(ws), seq, event)
    redis.call('ZADD', K.OPEN_EVENTS, now, event)
    redis.call('ZADD', K.unfanned(ws), seq, event)
    local fields = {'e', event, 's', seq, 't', kind, 'c', channel, 'w', own, 'r', rev}
    local entry = redis.call('XADD', K.stream(ws), '*', unpack(fields))
    redis.call('HSET', K.event(event), 'doc', doc, 'ws', ws, 'job', job, 'entry', entry, 'open', 1, 'seq', seq)
    if job == '' then redis.call('ZADD', K.ODD_EVENTS, now, event) end
    redis.call('PUBLISH', K.NEWS, table.concat({ws, job, event, entry, seq, kind, channel, own, rev}, ' '))
  end,
  deliver = function(ws, event, doc, ep)
    local seq = redis.call('HINCRBY', K.workspace(ws), 'seq', 1)
    redis.call('ZADD', K.events(ws), seq, event)
    redis.call('ZADD', K.OPEN_EVENTS, now, event)
    redis.call('ZADD', K.ODD_EVENTS, now, event)
    redis.call('HSET', K.event(event), 'doc', doc, 'ws', ws, 'job', '', 'open', 1, 'seq', seq, ep, 'p|0||')
    local s = pace(ep)
    if s.ordered then
      redis.call('ZADD', K.line(ep), seq, event)
    else
      redis.call('ZADD', K.wait(ep), now, event)
    end
    place(ws, ep, now, s)
    redis.call('PUBLISH', K.NEWS, ws .. '  ' .. event)
  end,
  place = function(ws, ep)
    place(ws, ep, now)
    redis.call('PUBLISH', K.NEWS, ws .. '  ')
  end,
}

redis.call('HSET', KEYS[1], 'rev', rev + 1, 'tok', token)
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local word = words[ARGV[at + 1]]
  if word then
    word(unpack(ARGV, at + 2, at + n))
  else
    redis.call(unpack(ARGV, at + 1, at + n))
  end
  at = at + n + 1
end
return result
