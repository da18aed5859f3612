-- Deliver again, for every script that does: it waits, due now, with its whole schedule before it.
-- ``which``: letters of the states meant, p r d x c, and - for what was never there. ``probe``: it is reason enough
-- to try an endpoint whose circuit is open. How many were made to wait, how many are under way just now, and how
-- many were left as they are.
local function again(ws, ep, which, now, probe, events)
  local known, owner = unpack(redis.call('HMGET', K.endpoint(ep), 'doc', 'ws'))
  -- Deleted, or of another workspace. A job's own names none: it has what was fanned out to it, and nothing else.
  if not known or (owner and owner ~= ws) then return 0, 0, #events end
  local made, flown, s = 0, 0, pace(ep)

  local function wait_for(event, seq)
    if not s.ordered then
      -- One place in one set: whoever claims it there takes it from the schedule too.
      redis.call('ZREM', K.wait(ep), event)
      redis.call('ZADD', K.late(ep), now, event)
      return
    end
    redis.call('ZADD', K.line(ep), seq, event)
    if s.next > 0 and redis.call('ZRANK', K.line(ep), event) == 0 then
      s.next = 0
      redis.call('HDEL', K.endpoint(ep), 'next')
    end
  end

  local function wanted(event_ws, state)
    return event_ws == ws and (state or owner) and string.find(which, state or '-', 1, true)
  end

  for _, event in ipairs(events) do
    local key = K.event(event)
    local event_ws, seq, line = unpack(redis.call('HMGET', key, 'ws', 'seq', ep))
    local state, holder, log = string.match(line or '', '^(%a)|%d+|([^|]*)|(.*)$')
    if wanted(event_ws, state) then
      if holder and holder ~= '' then
        flown = flown + 1
      else
        log = log or ''
        redis.call('HSET', key, ep, (log == '' and 'p' or 'r') .. '|0||' .. log)
        if state ~= 'p' and state ~= 'r' then
          redis.call('HINCRBY', key, 'open', 1)
          redis.call('ZADD', K.OPEN_EVENTS, 'NX', now, event)
        end
        wait_for(event, seq)
        made = made + 1
      end
    end
  end
  if made > 0 then
    if probe and s.probe > 0 then
      s.probe = 0
      redis.call('HDEL', K.endpoint(ep), 'probe')
    end
    place(ws, ep, now, s)
    redis.call('PUBLISH', K.NEWS, ws .. '  ')
  end
  return made, flown, #events - made - flown
end
