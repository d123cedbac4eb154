import{b as e,d as t,f as n,i as r,m as i,r as a,s as o,t as s}from"./html.js";import{A as c,D as l,a as u,c as d,j as f,n as p,o as m,r as h,s as g,t as _}from"./app.js";import{t as v}from"./confirm.js";function y(e){let[t,n]=[e,0];for(;t>=1024&&n<4;)[t,n]=[t/1024,n+1];return`${n===0||t>=10?Math.round(t):t.toFixed(1)} ${[`B`,`KiB`,`MiB`,`GiB`,`TiB`][n]}`}const b=[`dead`,`pending`,`sending`,`done`,`cancelled`],x={dead:`Dead`,pending:`Pending`,sending:`In flight`,done:`Done`,cancelled:`Cancelled`};function S({query:t,operator:n}){let{state:i=`dead`,error:a=``,group:o=``,key:c=``}=t,u=new URLSearchParams({state:i,pageSize:`60`});for(let[e,t]of Object.entries({error:a,group:o,key:c}))t!==``&&u.set(e,t);let d=f(`v1/requests?${u}`,2e3),[m,v]=e(``),{data:y,problem:S}=d,E=y?.requests??[],D=e=>p(`deferred`,{state:i,error:a,group:o,key:c,...e}),O=()=>n&&i===`dead`&&E.length>0?C({error:a,group:o,key:c},y?.total,d.refresh):!1;l({r:O,f:()=>document.querySelector(`.filters input`)?.focus(),Escape:()=>a+o+c===``?p(``):D({error:``,group:``,key:``})});let A=y?.counts,j=E.find(({id:e})=>e===m)??E[0];return s`<h1 class="hidden">Deferred requests</h1><div class="split">
<div class="pane">
<div class="chips">
${b.map(e=>s`<button class=${`chip ${e===i?`on`:``}`} aria-pressed=${e===i} onClick=${()=>p(`deferred`,{state:e})}>
${x[e]} <span>${A?.[e]===void 0?``:r(Number(A[e]))}</span>
</button>`)}
</div>
${i===`dead`&&y?.causes!==void 0&&s`<${w} ...${{causes:y.causes,error:a,filter:D}} />`}
<div class="filters">
${[`error`,`group`,`key`].map(e=>s`<label>${e} <input key=${{error:a,group:o,key:c}[e]} defaultValue=${{error:a,group:o,key:c}[e]} onChange=${t=>D({[e]:t.target.value})} /></label>`)}
<i />
${n&&i===`dead`&&E.length>0&&s`<button class="solid" onClick=${O}>Redrive ${y?.total===void 0?`these`:r(Number(y.total))}… ${g(`r`)}</button>`}
</div>
${S!==void 0&&S.status!==0&&(S.status===404?s`<p class="none">This server stores no requests: no route is deferred.</p>`:h(S,d.refresh))}
${y!==void 0&&E.length===0&&s`<p class="none">No request is ${x[i]?.toLowerCase()??i}${a+o+c===``?``:` and matches the filter`}.</p>`}
${E.length>0&&s`<${_} ...${{label:`${x[i]??``} requests`,columns:T(i),rows:E,idOf:({id:e})=>e,main:!0,onOpen:({id:e})=>v(e)}} />`}
</div>
<aside>${j&&s`<${k} ...${{id:j.id,listed:j,operator:n,after:d.refresh}} />`}</aside>
</div>`}function C(e,t,n){let i=Object.fromEntries(Object.entries(e).filter(([,e])=>e!==``)),a=Object.entries(i).map(([e,t])=>` --${e} ${t}`);v({title:`Redrive ${t===void 0?`dead letters`:r(Number(t))}?`,method:`POST`,path:`v1/requests/redrive`,body:{...i,max:1e3},now:t===void 0?`not known how many match`:`${r(Number(t))} dead letters match`,other:[`Receiver`,`Each gets a new time to be tried; id and idempotency key stay the same.`],follows:`They wait in their groups like any other, and are sent at their rate.`,undo:`Cancel those that are still pending.`,command:`sluice requests redrive --all${a.join(``)}`,confirm:`Redrive`,keep:`Leave them`,done:`Redriven.`,after:n})}function w({causes:e,error:t,filter:n}){let i=e.reduce((e,{count:t})=>e+Number(t??0),0);return s`<section>
${d(`Why they died`,`${r(i)} dead letters, by error of the last attempt`)}
<div class="grid causes">
${e.map(e=>s`<button class=${`line plain ${e.error===t?`on`:``}`} onClick=${()=>n({error:e.error??``})}>
<b>${e.error}</b><span class="t2">${e.backend??``}</span>${u(Number(e.count??0)/Math.max(1,i),``,290)}
<span class="r">${r(Number(e.count??0))}</span><span class="r t2">${D(e.lastAt)}</span>
</button>`)}
</div>
</section>`}function T(e){return[{head:e===`dead`?`Last try`:`Accepted`,width:90,cell:t=>E(e===`dead`&&t.tries?.at(-1)?.at||t.acceptedAt)},{head:`Id`,width:110,cell:({id:e})=>s`<code title=${e}>${o(e,12)}</code>`},{head:`Group`,width:130,cell:({group:e})=>e??``},{head:`Key`,width:110,cell:({key:e})=>e??``},{head:`Request`,cell:({method:e,path:t})=>s`<code>${e??``} ${t??``}</code>`},{head:`Attempts`,width:80,right:!0,cell:({attempts:e})=>r(e??0)},{head:`Age`,width:80,right:!0,cell:({acceptedAt:e})=>D(e).replace(` ago`,``)},{head:`Kept for`,width:80,right:!0,drop:1080,cell:({goneAt:e})=>O(e)}]}function E(e){let n=t(e);return n===void 0?``:a(n)}function D(e){let n=t(e);return n===void 0?``:`${i(c()-n)} ago`}function O(e){let n=t(e);return n===void 0?``:i(n-c())}function k({id:e,listed:t,operator:n,after:r}){let{data:i,problem:a}=f(`v1/requests/${encodeURIComponent(e)}`,2e3),c={...t,...i},{state:u=``,method:p=``,path:h=``,bodyBytes:_,contentType:b,tries:S=[]}=c,C={method:`POST`,body:{},now:`${u}, ${c.error??`no error`}`,after:r},w=()=>n&&(u===`pending`||u===`sending`||u===`dead`)?v({...C,title:`Cancel ${e}?`,path:`v1/requests/${encodeURIComponent(e)}/cancel`,danger:!0,follows:`It leaves the queue for good.`,undo:`None.`,command:`sluice requests cancel ${e}`,confirm:`Cancel request`,keep:`Keep it`,done:`Cancelled.`,other:[`Receiver`,u===`sending`?`The attempt is aborted; the receiver may have acted.`:`It is never delivered.`]}):!1;l({c:w});let T=[[`Request`,s`<code>${p} ${h}</code>${_===void 0?``:`, ${y(Number(_))}`}${b?`, ${b}`:``}`],[`Group, key`,[c.group,c.key].filter(Boolean).join(`, `)],[`Accepted`,`${E(c.acceptedAt)}, ${D(c.acceptedAt)}`],[u===`dead`?`Died because`:`Last error`,c.error??`none`],[`Behind it`,c.behind??``],[`Waits for`,c.waitsFor??``],[`Next attempt`,O(c.nextAttemptAt)]],k=[...S].reverse().find(({firstBytes:e})=>e!==void 0),N=u===`dead`?`red`:``;return s`<div class="phead big">
<h2><code>${o(e,14)}</code></h2>
<span class=${`state ${N}`}>${m(u===`dead`?`cross`:`ring`,N)}${x[u]??u}</span><i />${n&&s`<button onClick=${w}>Cancel ${g(`c`)}</button>`}
</div>
${a!==void 0&&a.status!==0&&s`<p class="none">${a.detail}</p>`}
<dl class="pairs">${T.filter(([,e])=>e!==``).map(([e,t])=>s`<dt>${e}</dt><dd>${t}</dd>`)}</dl>
<section>
${d(`Attempts`,`${S.length}, last first; times since accepted`)}${M(c)}
<ol class="activity">
${[...S].reverse().map(e=>s`<li>${m(e.error?`cross`:`disc`,e.error?`red`:`green`)}<time>${e.number} · ${A(c,e)}</time><span>${e.error??e.status??``}</span><span class="t2">${j(e)}</span></li>`)}
</ol>
</section>
${k&&s`<section>${d(`Answer of attempt ${k.number}`,`its first bytes`)}<pre>${k.firstBytes?.slice(0,256)}</pre></section>`}`}function A({acceptedAt:e},{at:n}){let[r,a]=[t(e),t(n)];return r===void 0||a===void 0?``:i(a-r)}function j({took:e}){let t=n(e);return t===void 0?``:t<1e3?`${Math.round(t)} ms`:i(t)}function M({acceptedAt:e,tries:n=[]}){let r=t(e),i=n.map(e=>t(e.at)).filter(e=>e!==void 0),a=i.at(-1);if(!(r===void 0||a===void 0||a<=r))return s`<svg class="ticks" viewBox="0 0 450 20" preserveAspectRatio="none" aria-hidden="true">
<path class="axis" d="M0 10H450" /><path class="tick" d=${i.map(e=>`M${((e-r)/(a-r)*448+1).toFixed(1)} 2v16`).join(``)} />
</svg>`}export{S as DeferredScreen};