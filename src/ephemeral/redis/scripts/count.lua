-- A counter is {0, time, time, …}, oldest first, or {1, start, before, now}: the counts of the window that began at start, and of
-- the one before it. All of it in milliseconds, and exactly as the counters of one node reckon.
local function slide(c, window, now)
    if c[1] == 0 then
        local kept = {0}
        for i = 2, #c do
            if c[i] > now - window then kept[#kept + 1] = c[i] end
        end
        return kept
    end
    local current = now - now % window
    if current > c[2] then
        return {1, current, current - c[2] == window and c[4] or 0, 0}
    end
    return c
end

local function left(c, max, window, now)
    if c[1] == 0 then return max - (#c - 1) end
    local into = math.min(math.max(now - c[2], 0), window) / window
    return max - (c[3] * (1 - into) + c[4])
end

-- How long until one more is within max (1 or more); if it is already, until all that counts has slid past.
local function reset(c, max, window, now, allowed)
    if c[1] == 0 then
        local at = allowed and c[#c] or c[math.max(#c - 1 - max, 0) + 2]
        return #c > 1 and at + window - now or 0
    end
    local ends = c[2] + window - now
    if allowed then
        if c[4] > 0 then return ends + window end
        return c[3] > 0 and ends or 0
    end
    local function part(of, room) return math.ceil(window * (1 - room / math.max(of, 1))) end
    if c[4] < max then
        -- The older window must fall to max - 1 - now.
        return math.min(math.max(part(c[3], max - 1 - c[4]) + c[2] - now, 1), math.max(ends, 1))
    end
    -- The present window must become the older one, and fall to max - 1.
    return ends + math.max(part(c[4], max - 1), 1)
end

local function keep(c, window)
    -- A minute more than it matters, for clocks that differ.
    local ttl = c[1] == 0 and window + 60000 or 2 * window + 60000
    redis.call('SET', KEYS[1], cmsgpack.pack(c), 'PX', string.format('%.0f', ttl))
end
